// An X-ray as grey values that the page can window, whatever file it came in.

const LONGEST = 1024; // pixels; more than a card ever shows
const MAGIC = [
  [0x89, 0x50, 0x4e, 0x47], // PNG
  [0xff, 0xd8, 0xff], // JPEG
];

/** Whether the browser can show the file itself. */
export async function isShowable(file) {
  const start = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  return MAGIC.some((magic) => magic.every((byte, index) => start[index] === byte));
}

/** Grey values of a PNG or JPEG, as wide and high as it came, at most 1024.
 * @returns {Promise<{width: number, height: number, grey: Uint8ClampedArray}>}
 */
export async function readGrey(blob) {
  // Neither turned nor recoloured: the model sees the pixels as they are stored.
  const bitmap = await createImageBitmap(blob, {
    imageOrientation: "none",
    colorSpaceConversion: "none",
  });
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const grey = new Uint8ClampedArray(width * height);
  for (let i = 0; i < grey.length; i++) {
    // ITU-R 601, as the server turns colour into grey
    grey[i] = 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2];
  }
  return { width, height, grey };
}

/** The picture through a window: `width` grey values around `level` fill the screen,
 * from black to white, or the other way.
 * @returns {ImageData}
 */
export function throughWindow(picture, window, level, inverted) {
  const table = new Uint8ClampedArray(256);
  for (let value = 0; value < 256; value++) {
    const share = (value - level) / window + 0.5;
    table[value] = (inverted ? 1 - share : share) * 255;
  }
  const image = new ImageData(picture.width, picture.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) {
    pixels[i] = 0xff000000 | (table[picture.grey[i]] * 0x010101);
  }
  return image;
}
