/** The choice of scale, student and engine. */

const find = (selector) => document.querySelector(selector);
const scale = find("#scale");
const student = find("#student");
const engine = find("#engine");

/**
 * @param {{name: string, file: string, scale: number, call: boolean, parameters: number}[]} students
 * @param {() => void} changed
 */
export function fillSettings(students, changed) {
  const scales = [...new Set(students.map((item) => item.scale))].sort((a, b) => b - a);
  scale.replaceChildren(...scales.map((value) => new Option(`×${value}`, value)));
  const fillStudents = () => {
    const able = students.filter((item) => item.scale === Number(scale.value));
    student.replaceChildren(...able.map((item) => new Option(label(item), item.file)));
  };
  fillStudents();
  scale.addEventListener("change", () => {
    fillStudents();
    changed();
  });
  student.addEventListener("change", changed);
  engine.addEventListener("change", changed);
}

export const chosen = () => ({ file: student.value, engine: engine.value });

function label({ name, call, parameters }) {
  const kind = call ? "video calls" : "clean images";
  return `${name}: ${kind}, ${Math.round(parameters / 1000)} K parameters`;
}
