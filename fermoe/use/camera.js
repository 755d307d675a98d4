// A button that opens the camera and takes one picture, which goes to the kernel and nowhere else.
function render({ model, el }) {
  model.send("shown"); // somebody looks: the kernel draws the figures now
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  if (!navigator.mediaDevices?.getUserMedia) {
    said.textContent = "This browser offers no camera here.";
    el.append(said);
    return;
  }
  const button = document.createElement("button");
  button.className = "jupyter-button widget-button";
  button.style.width = "auto";
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.width = 320;
  video.setAttribute("aria-label", "What the camera sees");
  el.append(button, " ", said, video);

  let stream = null;
  let gone = false;

  function close() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.srcObject = null;
    video.hidden = true;
    button.textContent = "Open the camera";
  }

  async function open() {
    stream = await navigator.mediaDevices.getUserMedia({ video: true });
    if (gone) return close(); // the cell was run again while the browser asked
    video.srcObject = stream;
    video.hidden = false;
    await video.play();
    button.textContent = "Take the picture";
    said.textContent = "";
  }

  async function take() {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    model.set("picture", new DataView(await blob.arrayBuffer()));
    model.save_changes();
    close();
  }

  button.onclick = async () => {
    button.disabled = true;
    try {
      await (stream ? take() : open());
    } catch (error) {
      close();
      said.textContent = `The camera cannot be used (${error.name}).`;
    }
    button.disabled = false;
  };
  close();
  return () => {
    gone = true;
    close();
  };
}

export default { render };
