/** The maximum length of a device's name, in characters. */
export const MAX_DEVICE_NAME = 64;

/** The device that a session plays on, as its client or its token names it. */
export interface Device {
  readonly id: string;
  /** A name for people: "Living-room TV". */
  readonly name?: string | undefined;
  /** For example `tv`, `phone` or `web`. */
  readonly type?: string | undefined;
  /** True if the device can play several streams at the same time, like a browser with tabs. */
  readonly shared?: boolean | undefined;
}
