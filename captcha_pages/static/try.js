// Draws or opens a captcha, sends its bytes to /api/read as any client would, and shows the answer.
"use strict";

const element = (id) => document.getElementById(id);
const sliders = [...document.querySelectorAll("input[type=range]")];
const MAX_BARS = 4; // the most probable characters of a position
const HIDDEN = 0.85; // opacity of the white over columns with weight 0

let number = Math.floor(Math.random() * 1e9); // decides the text and the noise
let latest = 0; // number of the latest request; answers to earlier ones are not shown

async function answered(response) {
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function attempt(work) {
  const mine = ++latest;
  try {
    await work(() => mine === latest);
  } catch (error) {
    if (mine !== latest) return;
    const gone = error instanceof TypeError || error instanceof SyntaxError;
    clear(gone ? "The server does not respond. Restart it." : error.message);
  }
}

function clear(message) {
  element("message").textContent = message;
  element("result").textContent = "";
  element("certainty").textContent = "";
  element("where").textContent = "";
  element("positions").replaceChildren();
}

function draw() {
  attempt(async (isLatest) => {
    const values = Object.fromEntries(sliders.map((slider) => [slider.name, Number(slider.value)]));
    const body = JSON.stringify({ number, ...values });
    const drawn = await answered(await fetch("/api/draw", { method: "POST", body }));
    const bytes = Uint8Array.from(atob(drawn.png), (character) => character.charCodeAt(0));
    await read(new Blob([bytes], { type: "image/png" }), isLatest, drawn.text);
  });
}

async function read(image, isLatest, text) {
  const answer = await answered(await fetch("/api/read", { method: "POST", body: image }));
  if (!isLatest()) return;
  const picture = element("picture");
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(image);
  await picture.decode();
  show(answer, picture, text);
}

function show(answer, picture, text) {
  element("message").textContent = "";
  element("result").textContent = answer.text;
  const correct = text === undefined ? "" : text === answer.text ? ", correct" : `, but ${text} was drawn`;
  element("certainty").textContent = `confidence ${(100 * answer.confidence).toFixed(2)} %${correct}`;
  element("where").textContent = answer.weights
    ? "Each picture shows where the network looked for this position; the bars are the probabilities of the characters."
    : "An exported model has no position weights. To see them, set --model to a folder that the trainer saved to.";
  element("positions").replaceChildren(...answer.positions.map((probabilities, position) => {
    const column = document.createElement("div");
    if (answer.weights) column.append(shaded(picture, answer.weights[position]));
    column.append(...bars(probabilities));
    return column;
  }));
}

function shaded(picture, weights) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const width = canvas.width / weights.length, most = Math.max(...weights, 1e-9);
  weights.forEach((weight, i) => {
    context.fillStyle = `rgb(255 255 255 / ${HIDDEN * (1 - weight / most)})`;
    const left = Math.round(i * width);
    context.fillRect(left, 0, Math.round((i + 1) * width) - left, canvas.height);
  });
  return canvas;
}

function bars(probabilities) {
  const sorted = Object.entries(probabilities).sort((one, other) => other[1] - one[1]).slice(0, MAX_BARS);
  return sorted.map(([character, probability]) => {
    const bar = document.createElement("div");
    bar.className = "bar";
    const name = document.createElement("b");
    const meter = document.createElement("meter");
    const figure = document.createElement("span");
    name.textContent = character || "end";
    meter.value = probability;
    meter.setAttribute("aria-label", character || "end");
    figure.textContent = `${(100 * probability).toFixed(1)} %`;
    bar.append(name, meter, figure);
    return bar;
  });
}

function open(file) {
  if (file) attempt((isLatest) => read(file, isLatest));
}

for (const slider of sliders) {
  slider.addEventListener("input", () => {
    slider.parentElement.querySelector("output").textContent = slider.value;
    draw();
  });
}
element("draw").addEventListener("click", () => { number++; draw(); });
element("file").addEventListener("change", (event) => open(event.target.files[0]));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  element("target").classList.add("dropping");
});
document.addEventListener("dragleave", () => element("target").classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  element("target").classList.remove("dropping");
  open(event.dataTransfer.files[0]);
});
draw();
