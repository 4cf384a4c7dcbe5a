import { Enhancer } from "./kd-web.js";

const status = document.querySelector("#status");

document.querySelector("#start").addEventListener("click", async () => {
  try {
    const enhancer = await Enhancer.load("models/call_tiny_x2.kdw");
    const video = { width: 320, height: 180 };
    const camera = await navigator.mediaDevices.getUserMedia({ video });
    const enhanced = enhancer.processTrack(camera.getVideoTracks()[0]);
    document.querySelector("#view").srcObject = new MediaStream([enhanced]);
    status.textContent = `${enhancer.model.name} on ${enhancer.engine}`;
  } catch (error) {
    status.textContent = error.message;
  }
});
