// The question: a form whose fields are those of a State.  EVENTS are the events of the page that Python hears.
const form = element.querySelector("form");
const page = JSON.parse(form.dataset.page);
const chosen = form.querySelector(".chosen");
const status = form.querySelector(".said");
const field = (name) => form.elements.namedItem(name);
const DELAY = 250; // ms after the last key

// What has no control to be seen lies in hidden fields: what the text was, and the fields of panels.
for (const name of Object.keys(page.defaults)) {
  if (name === "methods" || field(name)) continue;
  const hidden = Object.assign(document.createElement("input"), { type: "hidden", name });
  form.append(hidden);
}
const given = location.search;

const say = (text) => {
  status.textContent = text;
  status.hidden = !text;
};

// The same as State.query, but for the text, which is always there: an empty one is no plain start.
const query = () => {
  const said = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (name === "text" || name === "methods" || value !== page.defaults[name]) said.append(name, value);
  }
  if (!said.has("methods")) said.append("methods", "");
  return said.toString();
};

const fits = () => query().length <= page.link;
const address = () => {
  const kept = new URLSearchParams();
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (name.startsWith("__")) kept.append(name, value); // Gradio's own, such as __theme
  }
  const parts = [kept.toString(), fits() ? query() : ""].filter(Boolean);
  return location.pathname + (parts.length ? "?" + parts.join("&") : "");
};

// A panel is asked while it is shown, and only what it has not been asked last.
const asked = {};
let timer;
const ask = (delay = DELAY) => {
  clearTimeout(timer);
  timer = setTimeout(() => {
    history.replaceState(history.state, "", address());
    const shown = field("tab").value || page.tabs[0];
    const said = query();
    trigger("asked");
    if (asked[shown] === said) return;
    asked[shown] = said;
    trigger("ask_" + shown);
  }, delay);
};

// Methods: those chosen, in their order, each a hidden field on a button that takes it away.
const specs = () => [...chosen.querySelectorAll("input")].map((each) => each.value);
const choose = (wanted) => {
  chosen.replaceChildren(
    ...wanted.map((spec) => {
      const chip = document.createElement("span");
      chip.className = "chip";
      const hidden = Object.assign(document.createElement("input"), { type: "hidden", name: "methods", value: spec });
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
      button.setAttribute("aria-label", `Remove ${spec}`);
      button.addEventListener("click", () => {
        const place = specs().indexOf(spec);
        choose(specs().filter((each) => each !== spec));
        (chosen.querySelectorAll("button")[Math.max(0, place - 1)] ?? form.querySelector(".menu summary")).focus();
        ask(0);
      });
      chip.append(spec, hidden, button);
      return chip;
    }),
  );
  for (const box of form.querySelectorAll(".menu input[type=checkbox]")) box.checked = wanted.includes(box.value);
};
const add = () => {
  const typed = form.querySelector("[data-spec]");
  const spec = typed.value.trim();
  if (!spec) return;
  typed.value = "";
  choose([...new Set([...specs(), spec])]);
  ask(0);
};

// What can be chosen depends on the model.
const options = (name, labels, keep) => {
  const select = field(name);
  const before = select.value;
  const first = select.options[0];
  select.replaceChildren(first, ...labels.map((label) => new Option(label, label)));
  select.value = labels.includes(before) ? before : "";
};
// What is held against a class needs that class.
const contrasts = () => {
  field("against").disabled = !field("target").value;
};
const pairShown = (shown) => {
  form.querySelector(".pair").hidden = !shown;
  form.querySelector("[data-pair]").hidden = shown;
};
const fit = () => {
  const model = page.models[field("model").value] ?? Object.values(page.models)[0];
  const labels = [...new Set(model.labels)];
  for (const name of ["target", "against"]) {
    options(name, labels);
    field(name).closest("div").hidden = labels.length < 2;
  }
  contrasts();
  for (const option of field("quantity").options) {
    option.disabled = option.value !== "" && !model.quantities.includes(option.value);
  }
  if (field("quantity").selectedOptions[0]?.disabled) field("quantity").value = "";
  pairShown(model.paired || field("pair").value !== "");
  for (const each of form.querySelectorAll(".example")) each.hidden = Boolean(each.dataset.other) !== model.paired;
};

// Words that are edited: what the texts were before each, the last one last.
let edits = [];
const texts = () => [field("text").value, field("pair").value];
const write = ([text, pair]) => {
  field("text").value = text;
  field("pair").value = pair;
  if (pair) pairShown(true);
};
const remember = () => {
  const [before, pair] = edits.at(-1) ?? ["", ""];
  field("before").value = before;
  field("before_pair").value = pair;
};
const edit = (sequence, start, end, old, word) => {
  const now = texts();
  const letters = Array.from(now[sequence]); // the places are those of whole characters
  if (letters.slice(start, end).join("") !== old) {
    say("The text has changed since: wait for its explanation, then edit the word.");
    return;
  }
  let [left, right] = [letters.slice(0, start).join(""), letters.slice(end).join("")];
  if (!word) [left, right] = /\s$/.test(left) || !left ? [left, right.replace(/^\s/, "")] : [left, right];
  const then = [...now];
  then[sequence] = left + word + right;
  edits.push(now);
  write(then);
  remember();
  say("");
  ask(0);
};
const undo = () => {
  if (!field("before").value) return;
  write([field("before").value, field("before_pair").value]);
  edits.pop();
  remember();
  ask(0);
};

// A link.
const start = () => {
  const said = new URLSearchParams(given);
  const names = new Set([...said.keys()].filter((name) => name in page.defaults));
  const wrong = [];
  choose(page.start);
  fit();
  if (!names.size) return;
  if (names.has("text")) {
    // It says it all; one without a text is about the example.
    if (!names.has("methods")) choose(page.defaults.methods);
    if (!names.has("pair")) field("pair").value = "";
  }
  const order = [...names].sort((one, other) => (other === "model") - (one === "model"));
  for (const name of order) {
    const value = said.getAll(name).at(-1);
    if (name === "methods") choose([...new Set(said.getAll(name).filter(Boolean))]);
    else if (name === "tab" && value && !page.tabs.includes(value)) wrong.push(`the tab “${value}”`);
    else if (name === "model" && field(name) && !(value in page.models) && value) wrong.push(`the model “${value}”`);
    else if (name === "level") {
      if ([...field(name)].some((each) => each.value === value)) field(name).value = value;
      else wrong.push(`the level “${value}”`);
    } else {
      const control = field(name);
      control.value = value;
      if (control.tagName === "SELECT" && control.value !== value) {
        control.value = "";
        wrong.push(`${control.labels[0].textContent.toLowerCase()} “${value}”`);
      }
    }
    if (name === "model") fit();
  }
  contrasts();
  if (field("against").value && field("against").disabled) {
    wrong.push(`“${field("against").value}” to be held against no class`);
  }
  pairShown(!form.querySelector(".pair").hidden || field("pair").value !== "");
  if (field("before").value) edits = [[field("before").value, field("before_pair").value]];
  if (wrong.length) {
    say(`The link asks for what is not here: ${wrong.map((each) => each.slice(0, 80)).join(", ")}. The rest is as it says.`);
  }
  const tab = field("tab").value;
  if (tab) choose_tab(tab);
};
const choose_tab = (name, tries = 50) => {
  const button = document.querySelector(`[role=tab][data-tab-id="${CSS.escape(name)}"]`);
  if (button) button.click();
  else if (tries) setTimeout(choose_tab, 50, name, tries - 1);
};

const copy = async () => {
  if (!fits()) {
    say("This text is too long for a link: save the explanations as a file instead.");
    return;
  }
  history.replaceState(history.state, "", address());
  try {
    await navigator.clipboard.writeText(location.href);
    say("Link copied.");
  } catch {
    say("The browser does not let the page copy: the link is in the address bar.");
  }
};
// A file is made when it is asked for.
const save = async (button) => {
  const said = button.closest("[data-query]").dataset.query;
  button.disabled = true;
  try {
    const found = await fetch(`download/${button.dataset.save}`, { method: "POST", body: said });
    if (!found.ok) throw new Error(await found.text());
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await found.blob());
    link.download = decodeURIComponent(/filename="([^"]+)"/.exec(found.headers.get("content-disposition"))[1]);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  } catch (error) {
    say(`No file: ${error.message}`);
  } finally {
    button.disabled = false;
  }
};

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", (event) => {
  const { name, type } = event.target;
  if (type === "checkbox") {
    choose(event.target.checked ? [...specs(), event.target.value] : specs().filter((each) => each !== event.target.value));
  }
  if (name === "text" || name === "pair") {
    edits = [];
    remember();
  }
  if (name === "model") fit();
  if (name === "target") contrasts();
  if (event.target.dataset.spec !== undefined) return;
  say("");
  ask(name === "text" || name === "pair" ? DELAY : 0);
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.dataset.spec !== undefined) {
    event.preventDefault();
    add();
  } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    delete asked[field("tab").value || page.tabs[0]];
    say("");
    ask(0);
  } else if (event.key === "Escape" && event.target.closest("details[open]")) {
    const open = event.target.closest("details[open]");
    open.open = false;
    open.querySelector("summary").focus();
  }
});
form.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.text !== undefined) {
    write([button.dataset.text, button.dataset.other]);
    edits = [];
    remember();
    say("");
    ask(0);
  } else if (button.dataset.pair !== undefined) {
    pairShown(true);
    field("pair").focus();
  } else if (button.dataset.add !== undefined) add();
});
document.addEventListener("click", (event) => {
  const menu = form.querySelector("details.menu");
  if (menu.open && !menu.contains(event.target) && event.target.isConnected) menu.open = false;
  const button = event.target.closest?.("[data-save], [data-copy], [data-undo], [data-help]");
  if (!button) return;
  if (button.dataset.save) save(button);
  if (button.dataset.copy !== undefined) copy();
  if (button.dataset.undo !== undefined) undo();
  if (button.dataset.help !== undefined) document.getElementById("help").showModal();
});

window.whybert = {
  query,
  edit,
  undo,
  say,
  put: (text, pair) => {
    edits.push(texts());
    write([text, pair]);
    remember();
    ask(0);
  },
  asking: () => {
    document.body.classList.add("asking");
    return query();
  },
  failed: () => {
    delete asked[field("tab").value || page.tabs[0]];
    say("No answer came: what is shown below is of before. Ctrl+Enter in the text asks again.");
  },
  answered: () => document.body.classList.remove("asking"),
  set: (name, value) => {
    if (field(name).value === (value ?? "")) return;
    field(name).value = value ?? "";
    ask();
  },
  shown: (name) => {
    const wanted = name === page.tabs[0] ? "" : name;
    if (field("tab").value === wanted && asked[name]) return;
    field("tab").value = wanted;
    ask(0);
  },
};
start();
ask(0);
