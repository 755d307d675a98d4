"""The `fermoe` command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from fermoe import __version__
from fermoe.errors import UserError

SECTIONS: dict[str, dict[str, str]] = {
    "Use a trained network": {
        "predict": "fermoe predict photos/ --out labels.csv --show labelled/",
        "export": "fermoe export results/quick/runs/RUN --weights mine.safetensors",
    },
    "Train": {
        "train": "fermoe train dataset=folder root=faces/ variant=backbone epochs=5",
        "study": "fermoe study fer2013 --set root=DIR",
    },
    "Read results": {
        "tables": "fermoe tables fer2013-miniature",
        "report": "fermoe report fer2013-miniature",
        "pack": "fermoe pack quick",
    },
    "Beside other models and machines": {
        "compare": "fermoe compare results/quick ../fermoe-as-cloned/results/quick",
        "import": "fermoe import py-feat answers.csv --dataset fer2013 --root DIR --study fer2013-long-miniature",
        "baseline": "fermoe baseline hog_svm --dataset fer2013 --root DIR --study fer2013-long-miniature",
    },
    "Look at data": {
        "data": "fermoe data check fer2013 --root DIR",
        "crop": "fermoe crop fer2013 --root DIR",
    },
    "This machine": {
        "doctor": "fermoe doctor",
        "bench": "fermoe bench network --quick",
    },
}
"""The commands as `fermoe --help` groups them, each with an example."""


class _Group(click.Group):
    """Prints a `UserError` as one line and exits with 2, as click does with its own usage errors."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands by section, each with what it does and an example."""
        for title, examples in SECTIONS.items():
            with formatter.section(title):
                rows = []
                for name, example in examples.items():
                    rows += [(name, self.commands[name].get_short_help_str(limit=200)), ("", f"$ {example}")]
                formatter.write_dl(rows)

    def main(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
        try:
            return super().main(*args, **kwargs)  # type: ignore[call-overload]
        except UserError as error:
            click.echo(f"fermoe: {error}", err=True)
        except MemoryError:
            click.echo("fermoe: memory ran out: try fewer --workers, less data or a machine with more memory", err=True)
        except OSError as error:
            what = f"a file cannot be read or written ({error.strerror or error})"
            click.echo(
                f"fermoe: {UserError(what, where=error.filename, fix='free the place or choose another')}", err=True
            )
        sys.exit(2)


COMPLETION = """
\b
Shell completion, one line for each shell:
  ~/.bashrc   eval "$(_FERMOE_COMPLETE=bash_source fermoe)"
  ~/.zshrc    eval "$(_FERMOE_COMPLETE=zsh_source fermoe)"
  fish        _FERMOE_COMPLETE=fish_source fermoe | source
"""


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}, epilog=COMPLETION)
@click.version_option(__version__, prog_name="fermoe")
def main() -> None:
    """A reproducibility study kit for ExpressNet-MoE: every claim gets a verdict, every verdict names its table."""


@main.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@click.option("--run", help="The network of a finished run: its folder, or its name in results/.")
@click.option(
    "--weights", metavar="FILE", help="A file that export wrote, or one that comes with fermoe, such as quick."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write there instead of printing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per picture and line instead of CSV.")
@click.option("--show", type=click.Path(file_okay=False, path_type=Path), help="Folder for pictures with box and bars.")
@click.option(
    "--every", type=click.IntRange(min=1), default=25, show_default=True, help="Of a video: every N-th frame."
)
@click.option("--batch", type=click.IntRange(min=1), default=128, show_default=True, help="Pictures at a time.")
def predict(
    paths: tuple[str, ...],
    run: str | None,
    weights: str | None,
    out: Path | None,
    as_json: bool,
    show: Path | None,
    every: int,
    batch: int,
) -> None:
    """Label the faces in pictures: PATH is an image, a folder, a quoted pattern ("*.jpg") or a video.

    Prints CSV: file, frame, face box, label, one probability per class, gates. One face per picture, the detector's
    first; without a face the network is shown the whole picture. A folder gives the images in it, at any depth.
    """
    from fermoe.use.command import predict_command

    sys.exit(predict_command(paths, run, weights, out, as_json, show, every, batch))


@main.command()
@click.argument("run")
@click.option("--weights", type=click.Path(dir_okay=False, path_type=Path), help="The .safetensors file to write.")
@click.option("--onnx", type=click.Path(dir_okay=False, path_type=Path), help="The .onnx file to write.")
def export(run: str, weights: Path | None, onnx: Path | None) -> None:
    """Write a finished run's network as one file that travels, with a model card beside it, or as ONNX.

    RUN is a run's folder, or its name in results/. Without options: RUN.safetensors in the current folder.
    """
    from fermoe.use.command import export_command

    sys.exit(export_command(run, weights, onnx))


@main.command()
@click.argument("name", metavar="STUDY")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key of the study file.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the results.")
@click.option(
    "--workers", type=click.IntRange(min=1), help="Runs at once (default: one per GPU; without, what `threads` allow)."
)
@click.option("--skip-unreadable", is_flag=True, help="Leave out images that cannot be read.")
@click.option("--dry-run", is_flag=True, help="List the runs and which are done; run nothing.")
@click.option("--retry-failed", is_flag=True, help="Train only what failed before, and make what follows from it.")
@click.option("--quiet", is_flag=True, help="Say nothing but what failed.")
@click.option("--packed", is_flag=True, help="Take the runs in the study's packs as done: train only what they lack.")
@click.option(
    "--slurm",
    metavar="KEY=VALUE,…",
    help="Run on a Slurm cluster: partition, time (minutes), gpus, cpus, memory, parallel.",
)
def study(
    name: str,
    settings: tuple[str, ...],
    out: Path | None,
    workers: int | None,
    skip_unreadable: bool,
    dry_run: bool,
    retry_failed: bool,
    slurm: str | None,
    quiet: bool,
    packed: bool,
) -> None:
    """Run a study: STUDY is a name (quick, fer2013, …) or a .yaml file.

    Runs that are done are skipped, so the same command goes on after an interruption.
    """
    from fermoe.study.command import run_study

    settings = (*settings, "skip_unreadable=true") if skip_unreadable else settings
    sys.exit(run_study(name, settings, out, workers, dry_run, retry_failed, slurm, quiet, packed))


@main.command()
@click.argument("what", nargs=-1, metavar="KEY=VALUE… | STUDY RUN")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key of the study file.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the run, or of the results.")
def train(what: tuple[str, ...], settings: tuple[str, ...], out: Path | None) -> None:
    """Train one network and say where it lies, without a study: KEY=VALUE…, such as dataset=NAME root=DIR.

    Keys are those of a study file and of its `extra` rows: dataset, root, model, weights, epochs, batch_size,
    learning_rate, protocol, variant, crop, augmentation, normalisation, twins, precision, seed, training.patience, …
    Without any it trains on drawn faces. The same command goes on where a training was interrupted.

    STUDY RUN trains one run of a study, which the study's own command then finds trained.

    On several GPUs: torchrun --standalone --nproc-per-node 4 --no-python fermoe train …
    """
    if len(what) == 2 and not any("=" in word for word in what):
        from fermoe.study.command import train_run

        sys.exit(train_run(*what, settings, out))
    from fermoe.study.single import train_single

    sys.exit(train_single((*what, *settings), out))


@main.command()
@click.option("--data", "folders", multiple=True, type=click.Path(path_type=Path), help="Look for datasets there too.")
def doctor(folders: tuple[Path, ...]) -> None:
    """Say what this machine has (Python, PyTorch, GPU, detector, disk, datasets) and what to install."""
    from fermoe.use.doctor import examine

    for finding in examine(folders):
        click.echo(finding.line)


def _study_folder(study: str) -> Path:
    from fermoe.files import results_dir

    return Path(study) if Path(study).is_dir() else results_dir() / study


@main.command()
@click.argument("study")
def tables(study: str) -> None:
    """Rebuild a study's tables from its runs without training: STUDY is a folder, or a name in results/.

    Where the runs are not there, as in a fresh checkout, they are restored from its runs.tar.xz first.
    """
    from fermoe.study.archive import packs, unpack
    from fermoe.study.tables import rebuild_tables

    folder = _study_folder(study)
    if not (folder / "runs").is_dir() or packs(folder):
        click.echo(f"{unpack(folder)} files restored from the packs in {folder}")
    for name, table in rebuild_tables(folder, click.echo).items():
        click.echo(f"{folder / 'tables' / name}.csv: {len(table)} rows")


@main.command()
@click.argument("study", required=False)
def report(study: str | None) -> None:
    """Rebuild the page and tables over all studies from their tables, or one STUDY's report from its own.

    Over all studies also the rows between marks in results/README.md and in the README beside results.
    """
    from fermoe.study.page import write_index, write_report

    for path in (write_report(_study_folder(study)),) if study else write_index(texts=True):
        click.echo(f"{path}")


@main.command()
@click.argument("study")
def pack(study: str) -> None:
    """Pack a study's finished runs, predictions and one small network's weights, into its runs.tar.xz.

    Of a study with many trainings each seed is a file of its own, runs-seed0.tar.xz and so on.
    Other models beside it (fermoe import, fermoe baseline) go into its beside.tar.xz.
    """
    from fermoe.study.archive import pack, pack_beside, packs

    folder = _study_folder(study)
    pack(folder)
    pack_beside(folder)
    for path in packs(folder):
        click.echo(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


@main.command()
@click.argument("mine")
@click.argument("committed")
def compare(mine: str, committed: str) -> None:
    """Does a re-run agree? MINE and COMMITTED are results folders, or names in results/.

    \b
    fermoe compare results/quick ../fermoe-as-cloned/results/quick

    Table by table: identical; within, where no difference can be told from that of other seeds; outside; or not judged.
    Tables about the data alone must be equal. Numbers of trained networks are compared over seeds, on the same images
    where both folders have predictions (runs/, or runs.tar.xz), and corrected for the number of rows and tables. Axes
    that have one value in either folder, as in float32 beside bfloat16, are compared across.

    Exits with 0 where all that can be judged is identical or within, 1 where a table is outside, 2 where nothing can
    be judged, or accuracy.csv cannot: trainings of fewer than three seeds know no spread.
    """
    from fermoe.study.compare import compare

    found = compare(_study_folder(mine), _study_folder(committed))
    for note in found.notes:
        click.echo(note)
    click.echo()
    for table in found.tables:
        click.echo(f"{table.name + '.csv':22} {table.outcome:10} {table.statistic}")
        for line in table.shown:
            click.echo(f"{'':34}{line}")
    click.echo(f"\n{found.summary}")
    sys.exit(found.exit_code)


def _beside_options(command: Callable[..., None]) -> Callable[..., None]:
    """What the commands that set another model beside a study have in common."""
    folder = click.Path(path_type=Path)
    for option in (
        click.option("--study", required=True, help="The study's folder, or its name in results/."),
        click.option("--root", type=folder, help="The folder that holds the dataset."),
        click.option("--dataset", required=True, help="The study's dataset, such as fer2013."),
    ):
        command = option(command)
    return command


@main.command("import")
@click.argument("name")
@click.argument("predictions", type=click.Path(path_type=Path))
@_beside_options
def import_(name: str, predictions: Path, dataset: str, root: Path | None, study: str) -> None:
    """Set another model beside a study's networks: NAME it, and give its PREDICTIONS as a CSV.

    \b
    One line per test image of the dataset:
      image        its path below the dataset's folder, or its file name where no other image has the same
      label        the predicted class by name, such as happy
      p_<class>    one probability per class, for all classes or none

    \b
    fermoe import py-feat answers.csv --dataset fer2013 --root DIR --study fer2013-long-miniature

    Writes beside.csv: paired differences to the study's full network in accuracy, balanced accuracy and macro-F1, on
    all test images and without those that are among the training images too. No other table and no claim changes.
    """
    from fermoe.study.others import import_predictions

    sys.exit(import_predictions(name, predictions, dataset, root, _study_folder(study)))


@main.command()
@click.argument("kind")
@_beside_options
def baseline(kind: str, dataset: str, root: Path | None, study: str) -> None:
    """Train a plain model as the floor, and set it beside a study's networks: KIND is hog_svm.

    hog_svm: histograms of oriented gradients and a linear support vector machine, about three minutes for FER-2013.

    \b
    fermoe baseline hog_svm --dataset fer2013 --root DIR --study fer2013-long-miniature
    """
    from fermoe.study.others import run_baseline

    sys.exit(run_baseline(kind, dataset, root, _study_folder(study)))


@main.group()
def data() -> None:
    """Look at a dataset."""


@data.command()
@click.argument("name", metavar="DATASET")
@click.option("--root", type=click.Path(path_type=Path), help="The folder that holds the dataset.")
@click.option("--skip-unreadable", is_flag=True, help="List unreadable images instead of stopping at them.")
@click.option("--perceptual", is_flag=True, help="Also look for near duplicates (slower).")
def check(name: str, root: Path | None, skip_unreadable: bool, perceptual: bool) -> None:
    """Compare a dataset with the published counts; open every image; list duplicates.

    Exits with 1 where the counts differ from the published ones.
    """
    from fermoe.study.command import check_data

    sys.exit(check_data(name, root, skip_unreadable, perceptual))


@data.command()
@click.argument("name", metavar="DATASET")
@click.option("--root", type=click.Path(path_type=Path), required=True, help="The dataset's folder, to be made.")
@click.option("--archive", type=click.Path(path_type=Path), help="Extract this .tar.xz, .tar.gz or .zip there first.")
@click.option("--crop", "crops", multiple=True, default=("blazeface", "none"), show_default=True)
@click.option("--model", default="miniature", show_default=True, help="Whose image size: miniature, paper64 or paper.")
def prepare(name: str, root: Path, archive: Path | None, crops: tuple[str, ...], model: str) -> None:
    """Decode, crop and resize a dataset once, so that studies start training at once."""
    from fermoe.study.command import prepare_data

    sys.exit(prepare_data(name, root, archive, crops, model))


@main.command()
@click.argument("name", metavar="DATASET")
@click.option("--root", type=click.Path(path_type=Path), help="The folder that holds the dataset.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the results.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes (default: all cores).")
@click.option("--skip-unreadable", is_flag=True, help="Leave out listed images that do not exist.")
def crop(name: str, root: Path | None, out: Path | None, workers: int | None, skip_unreadable: bool) -> None:
    """Detect every face once, as the paper does, and write the outcomes by split and class (crops.csv)."""
    from fermoe.study.command import crop_data

    sys.exit(crop_data(name, root, out, workers, skip_unreadable))


@main.group()
def bench() -> None:
    """Measure speed on this machine; results go to results/benchmarks."""


@bench.command("network")
@click.option("--quick", is_flag=True, help="The miniature, in seconds: shows that everything runs; writes nothing.")
def bench_network(quick: bool) -> None:
    """The paper's network against a plain PyTorch port and a ResNet-50: ratios of time, and peak memory.

    About six minutes on two cores, mostly in the plain port. Wants a machine that does nothing else.
    """
    from fermoe.bench.network import BenchConfig, epoch_benchmark, memory_benchmark, network_benchmark
    from fermoe.files import results_dir, write_csv

    config = BenchConfig.quick() if quick else BenchConfig()
    tables = {
        "network": network_benchmark(config, click.echo),
        "memory": memory_benchmark(config),
        "epochs": epoch_benchmark(config),
    }
    for name, table in tables.items():
        click.echo("\n" + table.loc[:, : table.columns[table.columns.get_loc("processor") - 1]].to_string(index=False))
        if not quick:
            path = results_dir() / "benchmarks" / f"{name}.csv"
            write_csv(path, table, decimals=3)
            click.echo(f"written to {path}")


@bench.command("study")
@click.option("--workers", default=2, show_default=True, help="Runs at a time.")
def bench_study(workers: int) -> None:
    """What a study costs around its trainings: a small study, by phase, beside papermill's own start."""
    from fermoe.bench.study import study_benchmark
    from fermoe.files import results_dir, write_csv

    table = study_benchmark(workers)
    path = results_dir() / "benchmarks" / "study.csv"
    write_csv(path, table, decimals=2)
    click.echo(table.loc[:, :"ratio"].round(2).to_string(index=False))
    click.echo(f"written to {path}")


@bench.command("crops")
@click.option("--images", default=1500, show_default=True, help="Images per size.")
@click.option("--workers", default=2, show_default=True, help="Processes that detect.")
def bench_crops(images: int, workers: int) -> None:
    """Detecting and reading face crops, in images a second."""
    from fermoe.bench.crops import crop_benchmark
    from fermoe.files import results_dir, write_csv

    table = crop_benchmark(images, workers)
    path = results_dir() / "benchmarks" / "crops.csv"
    write_csv(path, table, decimals=1)
    click.echo(table.round(0).to_string(index=False))
    click.echo(f"written to {path}")


if __name__ == "__main__":
    main()
