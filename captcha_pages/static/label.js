// Shows one picture at a time, as the server says. A label is on the server's disk before the next picture appears.
"use strict";

const element = (id) => document.getElementById(id);
const checking = document.body.dataset.checking === "yes";
const tab = sessionStorage.tab ??= Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-");
const shownBefore = JSON.parse(sessionStorage.shownBefore ?? "[]"); // files, to go back to
const MAX_BEFORE = 1000; // files to remember

let shown = { file: "" };
let asked = ""; // the server's question about the typed label; Enter confirms it
let busy = false;

async function post(path, values) {
  const response = await fetch(path, { method: "POST", body: JSON.stringify(values) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

// One request at a time: a key that is pressed while the server works would apply to the wrong picture.
async function ask(path, values, remember) {
  if (busy) return;
  busy = true;
  const from = shown.file;
  try {
    const answer = await post(path, { tab, ...values });
    if (answer.question) {
      asked = answer.question;
      say(`${asked} Press Enter again to save the label.`);
    } else {
      if (remember && from) keep(from);
      show(answer);
    }
  } catch (error) {
    const gone = error instanceof TypeError || error instanceof SyntaxError;
    say(gone ? "The server does not respond. Confirmed labels are saved. Restart it, then try again." : error.message);
  } finally {
    busy = false;
  }
}

function keep(file) {
  shownBefore.push(file);
  shownBefore.splice(0, shownBefore.length - MAX_BEFORE);
  sessionStorage.shownBefore = JSON.stringify(shownBefore);
}

function say(text) {
  element("message").textContent = text;
}

function show(answer) {
  shown = answer;
  asked = "";
  say("");
  const { progress } = answer;
  element("bar").max = Math.max(progress.total, 1);
  element("bar").value = progress.done;
  element("progress").textContent = progress.text;
  element("rate").textContent = progress.rate;
  element("pays").textContent = progress.pays;
  showProblems(answer.problems, answer.left_out);
  element("work").hidden = !answer.file;
  element("done").hidden = Boolean(answer.file);
  if (answer.file) showPicture(answer);
}

function showPicture(answer) {
  element("picture").src = `/picture?file=${encodeURIComponent(answer.file)}`;
  element("file").textContent = answer.file;
  const labelled = answer.label && !checking ? `labelled ${answer.label}` : "";
  element("state").textContent = answer.unreadable ? "marked unreadable" : labelled;
  element("certainty").textContent = answer.certainty;
  if (checking) {
    element("label").textContent = answer.label;
    element("prediction").textContent = answer.prediction;
  }
  element("text").value = answer.typed;
  element("text").focus();
  element("text").select();
}

function showProblems(problems, count) {
  const list = element("left-out");
  list.hidden = count === 0;
  list.querySelector("summary").textContent = `${count} ${count === 1 ? "file" : "files"} cannot be labelled`;
  list.querySelector("ul").replaceChildren(...problems.map((problem) => {
    const item = document.createElement("li");
    item.textContent = problem;
    return item;
  }));
}

function save(text) {
  if (!shown.file) return;
  ask("/label", { file: shown.file, text, seen: shown.label, sure: asked }, true);
}

const actions = {
  confirm: () => save(element("text").value.trim()),
  take: () => { element("text").value = shown.prediction; save(shown.prediction); },
  skip: () => shown.file && ask("/skip", { file: shown.file }, true),
  unreadable: () => shown.file && ask("/unreadable", { file: shown.file, seen: shown.label }, true),
  back: () => {
    if (busy) return;
    const file = shownBefore.pop();
    if (file === undefined) return say("This is the first picture that this tab showed.");
    sessionStorage.shownBefore = JSON.stringify(shownBefore);
    ask("/open", { file }, false);
  },
};
const keys = { Enter: "confirm", ArrowDown: "skip", ArrowUp: "back", Escape: "unreadable" };

for (const [name, action] of Object.entries(actions)) element(name)?.addEventListener("click", action);
document.addEventListener("keydown", (event) => {
  const onButton = event.key === "Enter" && event.target.closest("button, summary");
  if (event.isComposing || event.repeat || onButton || !(event.key in keys)) return;
  if (event.altKey || event.metaKey || event.shiftKey) return;
  const name = checking && event.ctrlKey && event.key === "Enter" ? "take" : keys[event.key];
  if (!element(name)) return; // this page does not have the key
  event.preventDefault();
  actions[name]();
});
element("text").addEventListener("input", () => { asked = ""; say(""); });
element("picture").addEventListener("error", () => say("This picture cannot be shown."));
ask("/open", { file: "" }, false);
