// Words of heat maps as buttons: arrows move, Enter edits in place, Delete removes, Escape cancels.
const words = (map) => [...map.querySelectorAll("[data-place]")];
const maps = () => [...element.querySelectorAll("[data-query] [lang='']")];
const mapOf = (word) => word.closest("[lang='']");
let wanted = null; // which word has the focus: of which heat map, and the how manieth
let editing = null;

// One stop of the Tab key a heat map, at the word that was last there.
const stops = () => {
  maps().forEach((map, place) => {
    const listed = words(map);
    const stop = listed[wanted?.map === place ? Math.min(wanted.word, listed.length - 1) : 0];
    if (stop) stop.tabIndex = 0;
    map.setAttribute("role", "group");
    map.setAttribute("aria-label", "Words: arrow keys move, Enter edits, Delete removes");
  });
};
const focus = (word) => {
  for (const each of words(mapOf(word))) each.tabIndex = -1;
  word.tabIndex = 0;
  word.focus();
};
const place = (word) => {
  const [sequence, start, end] = word.dataset.place.split(":").map(Number);
  const said = new URLSearchParams(word.closest("[data-query]").dataset.query);
  const text = said.get(sequence ? "pair" : "text") ?? "";
  return { sequence, start, end, old: Array.from(text).slice(start, end).join("") };
};
const change = (word, said) => {
  const { sequence, start, end, old } = place(word);
  if (said !== old) whybert.edit(sequence, start, end, old, said);
};
const begin = (word) => {
  if (editing) return;
  editing = { word, shown: word.textContent };
  word.textContent = place(word).old;
  word.setAttribute("contenteditable", "plaintext-only");
  word.setAttribute("role", "textbox");
  word.focus();
  const range = document.createRange();
  range.selectNodeContents(word);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
};
const finish = (keeps) => {
  if (!editing) return;
  const { word, shown } = editing;
  const said = word.textContent.trim();
  editing = null;
  word.removeAttribute("contenteditable");
  word.setAttribute("role", "button");
  if (keeps) change(word, said);
  if (!keeps || said === place(word).old) word.textContent = shown;
  getSelection().removeAllRanges();
};

// The word above or below: the nearest of the next line.
const across = (listed, word, down) => {
  const at = word.getBoundingClientRect();
  const off = listed
    .map((each) => [each, each.getBoundingClientRect()])
    .filter(([, box]) => (down ? box.top > at.top + at.height / 2 : box.top < at.top - at.height / 2));
  const line = down ? Math.min(...off.map(([, box]) => box.top)) : Math.max(...off.map(([, box]) => box.top));
  const near = off.filter(([, box]) => Math.abs(box.top - line) < at.height / 2);
  near.sort(([, one], [, other]) => Math.abs(one.left - at.left) - Math.abs(other.left - at.left));
  return near[0]?.[0];
};

element.addEventListener("keydown", (event) => {
  const word = event.target.closest?.("[data-place]");
  if (!word) return;
  if (editing) {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    finish(event.key === "Enter");
    word.focus();
    return;
  }
  const listed = words(mapOf(word));
  const at = listed.indexOf(word);
  const ahead = getComputedStyle(mapOf(word)).direction === "rtl" ? -1 : 1;
  const target = {
    ArrowRight: () => listed[at + ahead],
    ArrowLeft: () => listed[at - ahead],
    ArrowDown: () => across(listed, word, true),
    ArrowUp: () => across(listed, word, false),
    Home: () => listed[0],
    End: () => listed.at(-1),
  }[event.key];
  if (target) {
    event.preventDefault();
    const next = target();
    if (next) focus(next);
  } else if (["Enter", " ", "F2"].includes(event.key)) {
    event.preventDefault();
    begin(word);
  } else if (["Delete", "Backspace"].includes(event.key)) {
    event.preventDefault();
    change(word, "");
  } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    whybert.undo();
  }
});
element.addEventListener("click", (event) => {
  const word = event.target.closest("[data-place]");
  if (word && !editing && getSelection().isCollapsed) {
    focus(word);
    begin(word);
  }
});
element.addEventListener("focusin", (event) => {
  const word = event.target.closest("[data-place]");
  if (word) wanted = { map: maps().indexOf(mapOf(word)), word: words(mapOf(word)).indexOf(word) };
});
element.addEventListener("focusout", (event) => {
  if (editing?.word === event.target) finish(true);
  if (event.relatedTarget) wanted = element.contains(event.relatedTarget) ? wanted : null;
});

// What an answer replaces keeps what was open, and the focus.
let open = new Set();
element.addEventListener("toggle", (event) => {
  const place = [...element.querySelectorAll("details")].indexOf(event.target);
  if (event.target.isConnected) open[event.target.open ? "add" : "delete"](place);
}, true);
watch("value", () => {
  editing = null;
  const kept = open;
  element.querySelectorAll("details").forEach((each, place) => (each.open = kept.has(place)));
  stops();
  if (wanted && (document.activeElement === document.body || element.contains(document.activeElement))) {
    const listed = words(maps()[wanted.map] ?? element);
    listed[Math.min(wanted.word, listed.length - 1)]?.focus({ preventScroll: true });
  }
});
