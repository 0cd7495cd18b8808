/** The camera: shown while it runs, one frame is taken at a time. */

export class Camera {
  private stream: MediaStream | undefined;

  constructor(private readonly video: HTMLVideoElement) {}

  get running(): boolean {
    return this.stream !== undefined;
  }

  /** Asks the user and starts. Throws Error with a sentence for the user. */
  async start(): Promise<void> {
    // Without HTTPS there is no mediaDevices, whatever its type says.
    const devices = navigator.mediaDevices as MediaDevices | undefined;
    if (devices === undefined) throw new Error("The camera needs a page that is served by HTTPS or from this device.");
    try {
      this.stream = await devices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      throw new Error(reasonOf(error));
    }
    this.video.srcObject = this.stream;
    await this.video.play();
  }

  /** What the camera sees now. */
  frame(): Promise<ImageBitmap> {
    return createImageBitmap(this.video, { colorSpaceConversion: "none" });
  }

  stop(): void {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = undefined;
    this.video.srcObject = null;
  }
}

function reasonOf(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError") return "The browser may not use the camera; allow it for this page.";
  if (name === "NotFoundError") return "This device has no camera.";
  return `The camera cannot be started: ${error instanceof Error ? error.message : String(error)}`;
}
