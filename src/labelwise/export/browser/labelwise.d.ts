/** Where the graph is computed: on the graphics card, or on the processor by WebAssembly with SIMD. */
export type Provider = "webgpu" | "wasm";

export interface Options {
  /** `auto`, the default, takes WebGPU where the browser has it and its answers agree, and else WebAssembly. */
  provider?: "auto" | Provider;
  /** Called with the number of bytes of each piece of a file that arrives. */
  progress?: (bytes: number) => void;
}

/** Pixels row by row, three (RGB) or four (RGBA) bytes a pixel; an ImageData is one. */
export interface Pixels {
  data: Uint8Array | Uint8ClampedArray;
  width: number;
  height: number;
}

export interface Label {
  name: string;
  /** Calibrated probability. */
  score: number;
  threshold: number;
  selected: boolean;
  /** Rows of weights of the places, with the sum 1; only with `maps`. */
  map?: number[][];
}

export interface Prediction {
  /** Every label, the most probable first. */
  labels: Label[];
  /** Names of the selected labels, the most probable first. */
  selected: string[];
  /** Left, top, right and bottom of the part of the image that the maps cover, in fractions of its sides. */
  shown: [number, number, number, number];
}

export interface Model {
  /** Method and backbone. */
  readonly title: string;
  readonly labels: { name: string; threshold: number; never_selected: boolean }[];
  /** Named groups of labels; of an exclusive one an image has at most one label. */
  readonly groups: { name: string; labels: string[]; exclusive: boolean }[];
  readonly hasMaps: boolean;
  readonly provider: Provider;
  readonly runtime: string;
  /** Why WebGPU is not used though the browser has it; empty otherwise. */
  readonly note: string;
  /** Method, training conditions, figures and the comparison with the run, from artefact.json. */
  readonly card: Record<string, unknown>;
  /**
   * The labels of one image. In Node, which has no decoder of images, `image` is `Pixels`.
   * @throws {LabelwiseError} an image that the browser cannot decode, or maps of an export without them
   */
  predict(image: Blob | ImageBitmapSource | Pixels, options?: { maps?: boolean }): Promise<Prediction>;
  /** Frees the memory of the graph. */
  release(): Promise<void>;
}

/** An error in one line: what was given, what was expected, what to do. */
export class LabelwiseError extends Error {
  readonly given: string;
  readonly expected: string;
  readonly todo: string;
}

/**
 * Opens an exported folder.
 * @param url of the folder; by default that of this module
 * @throws {LabelwiseError} a missing or changed file, another format, or a runtime whose answers differ from the run's
 */
export function load(url?: string | URL, options?: Options): Promise<Model>;

/**
 * Upright RGB pixels of an image, three bytes a pixel; transparency is laid over white.
 * @param options `shrinkTo`: pixels that both sides of a large JPEG keep when it is reduced to 1/2, 1/4 or 1/8
 */
export function decode(
  image: Blob | ImageBitmapSource | Pixels,
  options?: { shrinkTo?: number },
): Promise<Pixels & { data: Uint8Array }>;
