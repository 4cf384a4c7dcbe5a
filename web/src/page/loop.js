/**
 * Frames of a video element, one at a time, through a mailbox that holds one: the newest frame
 * replaces one that has not been taken.
 */
export class FrameLoop {
  /** Frames that came and were never handled: replaced in the mailbox, or missed by the browser. */
  dropped = 0;
  #video;
  #handle;
  #failed;
  #mailbox = null;
  #busy = false;
  #running = false;
  #request = 0;
  #presented = 0;

  /**
   * @param {HTMLVideoElement} video
   * @param {(frame: VideoFrame) => Promise<void>} handle the frame is closed when it is done
   * @param {(error: Error) => void} failed the loop has stopped
   */
  constructor(video, handle, failed) {
    this.#video = video;
    this.#handle = handle;
    this.#failed = failed;
  }

  start() {
    if (this.#running) return;
    this.#running = true;
    this.#presented = 0;
    this.#ask();
  }

  stop() {
    this.#running = false;
    this.#video.cancelVideoFrameCallback(this.#request);
    this.#mailbox?.close();
    this.#mailbox = null;
  }

  #ask() {
    this.#request = this.#video.requestVideoFrameCallback((_, { presentedFrames }) => {
      if (!this.#running) return;
      if (this.#presented) this.dropped += Math.max(0, presentedFrames - this.#presented - 1);
      this.#presented = presentedFrames;
      this.take();
      this.#ask();
    });
  }

  /** Has the frame in view handled; a video whose source is just being changed has none. */
  take() {
    let frame;
    try {
      frame = new VideoFrame(this.#video);
    } catch (error) {
      if (error.name !== "InvalidStateError") throw error;
      return;
    }
    this.#put(frame);
  }

  /** Has `frame` handled when the one under way is done. */
  #put(frame) {
    if (this.#mailbox) {
      this.#mailbox.close();
      this.dropped++;
    }
    this.#mailbox = frame;
    if (!this.#busy) this.#work();
  }

  async #work() {
    this.#busy = true;
    try {
      while (this.#mailbox) {
        const frame = this.#mailbox;
        this.#mailbox = null;
        try {
          await this.#handle(frame);
        } finally {
          frame.close();
        }
      }
    } catch (error) {
      this.stop();
      this.#failed(error);
    } finally {
      this.#busy = false;
    }
  }
}
