"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const store = "safekeel-inspection-" + data.sheet;
const known = new Set(["none", "unsure", ...data.choices.map(choice => choice.id)]);
const at = name => document.getElementById(name);
let state = { place: 0, labels: {}, notes: {} };
let always = false, area = "";

function remember() {
  try { localStorage.setItem(store, JSON.stringify(state)); }
  catch (error) { at("alarm").textContent = "This browser keeps nothing: export the CSV before you close the page. 浏览器无法保存，请在关闭前导出。"; }
}
function recall() {
  try {
    const found = JSON.parse(localStorage.getItem(store) || "null");
    if (found && found.labels) state = found;
  } catch (error) { remember(); }
}

function button(choice) {
  const [made, id, name, also] = ["button", "b", "span", "span"].map(tag => document.createElement(tag));
  made.dataset.label = choice.id; also.className = "dim"; name.lang = "zh";
  id.textContent = choice.id; name.textContent = choice.zh; also.textContent = choice.en;
  made.append(id, name, also);
  return made;
}
function build() {
  for (const group of data.areas) {
    const field = document.createElement("fieldset"), legend = document.createElement("legend"), grid = document.createElement("div");
    legend.textContent = group.id + " " + group.zh + " " + group.en; grid.className = "choices";
    grid.append(...data.choices.filter(choice => choice.area === group.id).map(button));
    field.append(legend, grid); at("choices").append(field);
  }
  for (const one of document.querySelectorAll("button[data-label]")) one.addEventListener("click", () => label(one.dataset.label));
}

function show(open) {
  const row = data.rows[state.place];
  at("place").textContent = state.place + 1;
  at("name").textContent = row[0];
  ["request", "thought", "answer"].forEach((name, index) => {
    at(name).textContent = row[index + 1];
    at(name).parentElement.hidden = !row[index + 1];
  });
  at("texts").hidden = !open; at("cover").hidden = open;
  at("note").value = state.notes[row[0]] || "";
  for (const one of document.querySelectorAll("button[data-label]")) {
    const on = one.dataset.label === state.labels[row[0]];
    one.classList.toggle("on", on); one.setAttribute("aria-pressed", on);
  }
  const done = Object.keys(state.labels).length;
  at("count").textContent = done + " of " + data.rows.length + " labelled 已标";
  at("meter").style.width = (100 * done / data.rows.length) + "%";
}
function go(place) {
  state.place = Math.max(0, Math.min(data.rows.length - 1, place));
  area = ""; remember(); show(always);
}
function label(value) {
  if (at("texts").hidden) { at("alarm").textContent = "Show the texts first. 请先显示文本。"; return; }
  at("alarm").textContent = "";
  state.labels[data.rows[state.place][0]] = value;
  if (state.place < data.rows.length - 1) go(state.place + 1); else { remember(); show(true); }
}
function clear() { delete state.labels[data.rows[state.place][0]]; remember(); show(always); }
function reveal() { always = true; show(true); }
function gap() {
  const all = data.rows.map((_, index) => (state.place + 1 + index) % data.rows.length);
  const found = all.find(index => !(data.rows[index][0] in state.labels));
  if (found !== undefined) go(found);
}

const quote = text => {
  const safe = /^[\s\u3000]*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]/.test(text) ? "'" + text : text;
  return '"' + safe.replace(/"/g, '""') + '"';
};
function exported() {
  const lines = data.rows.map((row, index) => [index + 1, row[0], state.labels[row[0]] || "", quote(state.notes[row[0]] || "")].join(","));
  return "\ufeffrow,id,label,note\r\n" + lines.join("\r\n") + "\r\n";
}
function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([exported()], { type: "text/csv" }));
  link.download = "inspection-" + data.sheet + ".csv";
  link.click();
}
function load(text) {
  const ids = new Set(data.rows.map(row => row[0]));
  let found = 0, foreign = 0;
  for (const line of text.split(/\r?\n/).slice(1)) {
    const [, id, value] = line.split(",");
    if (ids.has(id) && known.has(value)) { state.labels[id] = value; found += 1; }
    else if (id && !ids.has(id) && /^r[0-9a-f]{12}$/.test(id)) foreign += 1;
  }
  at("alarm").textContent = found + " labels read" + (foreign ? ", " + foreign + " rows of another sheet ignored" : "") + ".";
  remember(); show(always);
}

at("cover").addEventListener("click", reveal);
at("back").addEventListener("click", () => go(state.place - 1));
at("next").addEventListener("click", () => go(state.place + 1));
at("gap").addEventListener("click", gap);
at("clear").addEventListener("click", clear);
at("save").addEventListener("click", save);
at("load").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", event => event.target.files[0] && event.target.files[0].text().then(load));
at("note").addEventListener("input", event => {
  const name = data.rows[state.place][0];
  if (event.target.value) state.notes[name] = event.target.value; else delete state.notes[name];
  remember();
});
document.addEventListener("keydown", event => {
  if (event.target.tagName === "TEXTAREA" || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (area && /^[a-z]$/.test(key)) {
    const id = area + "." + key;
    area = "";
    if (known.has(id)) label(id); else at("alarm").textContent = "There is no category " + id + ".";
  } else if (/^[1-9]$/.test(key) && data.areas.some(group => group.id === "A." + key)) { area = "A." + key; at("alarm").textContent = area + ". …"; }
  else if (key === " ") reveal();
  else if (key === "n") label("none");
  else if (key === "u") label("unsure");
  else if (key === "g") gap();
  else if (key === "backspace") clear();
  else if (key === "arrowleft") go(state.place - 1);
  else if (key === "arrowright") go(state.place + 1);
  else return;
  event.preventDefault();
});
recall(); build(); show(false);
