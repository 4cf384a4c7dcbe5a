/** The student between a camera or decoder and whoever shows or sends its track. */

/** @param {import("./kd-web.js").Enhancer} enhancer @param {MediaStreamTrack} track */
export function processTrack(enhancer, track) {
  const insertable = globalThis.MediaStreamTrackProcessor && globalThis.MediaStreamTrackGenerator;
  return (insertable ? throughFrames : throughCanvas)(enhancer, track);
}

/** Frames without a video element: goes on in a hidden tab, as a call must. */
function throughFrames(enhancer, track) {
  // A buffer of one frame is the mailbox: the browser replaces what has not been read.
  const input = new MediaStreamTrackProcessor({ track, maxBufferSize: 1 });
  const output = new MediaStreamTrackGenerator({ kind: "video" });
  const reader = input.readable.getReader();
  const writer = output.writable.getWriter();
  const canvas = new OffscreenCanvas(1, 1);
  const run = async () => {
    for (;;) {
      const { value: frame, done } = await reader.read();
      if (done || output.readyState === "ended") break;
      const timing = { timestamp: frame.timestamp, duration: frame.duration ?? undefined };
      try {
        await enhancer.process(frame, canvas);
      } finally {
        frame.close();
      }
      await writer.write(new VideoFrame(canvas, timing));
    }
  };
  run()
    .catch(report)
    .finally(() => {
      output.stop();
      reader.cancel();
    });
  return output;
}

/** The same by a video element and a canvas that is captured, for other browsers. */
function throughCanvas(enhancer, track) {
  const video = document.createElement("video");
  video.muted = video.playsInline = true;
  video.srcObject = new MediaStream([track]);
  const canvas = document.createElement("canvas");
  canvas.getContext("2d", { alpha: false }); // capturing needs a context
  const [output] = canvas.captureStream().getVideoTracks();
  const end = () => {
    output.stop();
    video.srcObject = null;
  };
  track.addEventListener("ended", end);
  const onFrame = async () => {
    if (output.readyState === "ended") return end();
    try {
      await enhancer.process(video, canvas);
      video.requestVideoFrameCallback(onFrame);
    } catch (error) {
      report(error);
      end();
    }
  };
  video.requestVideoFrameCallback(onFrame);
  video.play().catch(report);
  return output;
}

const report = (error) => console.error("kd-web:", error.message);
