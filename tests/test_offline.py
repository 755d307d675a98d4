"""No connection is opened by what the quick study does in the library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

STUDY = """
import sys
from pathlib import Path

FORBIDDEN = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")


def watch(event, arguments):
    if event in FORBIDDEN:
        sys.stderr.write(f"{event} {arguments}\\n")
        raise RuntimeError(f"{event} {arguments}")


sys.addaudithook(watch)

from fermoe.evidence import experts, grad_cam, robustness
from fermoe.study.archive import pack, unpack
from fermoe.study.plan import expand, load_study, training_configs
from fermoe.study.tables import rebuild_tables
from fermoe.training.inference import open_runs
from fermoe.training.runs import StudyResults, write_result
from fermoe.training.train import train
from fermoe.files import write_json

folder = Path(sys.argv[1])
settings = ["dataset_options={train: 48, test: 16}", "epochs=1", "crops=none", "variants=full", "seeds=0", "extra=[]"]
study = load_study("quick", settings)
runs = expand(study, folder)
for config in training_configs(study):
    train(config, folder / "runs" / config.run_id, progress=False)
write_json(folder / "runs" / "study.json", {"study": study.name, "runs": [run.id for run in runs]})
results = StudyResults(folder)
trained = list(open_runs(results.runs))
robustness.TABLE.keep(folder / "runs" / robustness.NOTEBOOK, robustness.measure(trained, 4))
evidence = [item for one in trained for item in grad_cam.explain_run(one, 4, 0, 2)]
grad_cam.TABLE.keep(folder / "runs" / grad_cam.NOTEBOOK, evidence)
experts.TABLE.keep(folder / "runs" / experts.NOTEBOOK, experts.measure(results.runs, None, 4))
given = {"images": 4, "removals": 2, "permutations": 9, "seed": 0}
for notebook in (grad_cam.NOTEBOOK, experts.NOTEBOOK):
    write_result(folder / "runs" / notebook, notebook, given)
tables = rebuild_tables(folder)
pack(folder)
unpack(folder)
print(sorted(tables))
"""


def test_the_quick_study_works_with_connections_forbidden(tmp_path: Path, own_cache: Path) -> None:
    done = subprocess.run([sys.executable, "-c", STUDY, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "socket." not in done.stderr
    for table in ("accuracy", "robustness", "grad_cam", "experts", "claims"):
        assert table in done.stdout
