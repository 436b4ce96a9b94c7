/** Characters of a device's name. */
export const MAX_DEVICE_NAME = 64;

/** Where a session plays, as its client or its token says. */
export interface Device {
  readonly id: string;
  /** For people to recognise it by: "Living-room TV". */
  readonly name?: string | undefined;
  /** For example `tv`, `phone` or `web`. */
  readonly type?: string | undefined;
  /** True where the device may play several things at once, as a browser with tabs does. */
  readonly shared?: boolean | undefined;
}
