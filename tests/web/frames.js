// Frames between Python and the page: see encoded and decoded in conftest.py.
export function imageOf({ width, height, rgba }) {
  const bytes = Uint8ClampedArray.from(atob(rgba), (letter) => letter.charCodeAt(0));
  return new ImageData(bytes, width, height);
}

export function codeOf({ width, height, data }) {
  let letters = "";
  for (const byte of data) letters += String.fromCharCode(byte);
  return { width, height, rgba: btoa(letters) };
}
