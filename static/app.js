// Enhancements of pages that work without scripts: copy buttons, confirmation dialogs, menus, tabs, suggested paths,
// times in the reader's time zone, and results while typing.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue; // only on https and localhost
  const label = button.title;
  const show = (isDone) => {
    button.classList.toggle("is-done", isDone);
    button.title = isDone ? button.dataset.done : label;
    button.setAttribute("aria-label", button.title);
  };
  let timer;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    clearTimeout(timer);
    show(true);
    timer = setTimeout(show, 2000, false);
  });
}

for (const input of document.querySelectorAll(".copy-field input")) {
  input.addEventListener("focus", () => input.select());
}

// Confirmations that would unfold below their button become dialogs.
for (const details of document.querySelectorAll("details.confirm")) {
  const panel = details.querySelector(".confirm-panel");
  const dialog = document.createElement("dialog");
  dialog.className = "confirm-dialog";
  dialog.setAttribute("aria-label", panel.getAttribute("aria-label"));
  const opener = details.querySelector("summary");
  details.addEventListener("toggle", () => {
    if (!details.open) return;
    dialog.append(panel);
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector("[data-close]")?.focus();
  });
  for (const close of panel.querySelectorAll("[data-close]")) {
    close.hidden = false;
    close.addEventListener("click", () => dialog.close());
  }
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => {
    details.append(panel);
    details.open = false;
    dialog.remove();
    opener.focus();
  });
}

// After a form was refused, the focus is on the first field with an error.
document.querySelector("main .has-error :is(input, select, textarea)")?.focus();

// Only one menu is open at a time; it closes on Escape and on clicks elsewhere.
const menus = document.querySelectorAll("details.menu");
document.addEventListener("click", (event) => {
  for (const menu of menus) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of menus) {
    if (!menu.open) continue;
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// The path is derived from the name until it is edited, as on the server (domain/namespaces/rules.py, path_from).
for (const path of document.querySelectorAll("input[data-path-from]")) {
  const name = document.getElementById(path.dataset.pathFrom);
  let follows = path.value === "";
  path.addEventListener("input", () => {
    follows = path.value === "";
  });
  name.addEventListener("input", () => {
    if (!follows) return;
    path.value = name.value
      .normalize("NFKD")
      .replace(/\p{M}/gu, "")
      .toLowerCase()
      .replace(/[^a-z0-9_.]+/g, "-")
      .replace(/^[-.]+|[-.]+$/g, "");
  });
}

// Filter forms are submitted on change, without empty fields in the URL.
for (const form of document.querySelectorAll("form[data-auto-submit]")) {
  form.addEventListener("change", (event) => {
    if (event.target.matches("select, input[type=checkbox], input[type=radio]")) form.requestSubmit();
  });
  form.addEventListener("formdata", (event) => {
    for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
  });
}

for (const button of document.querySelectorAll("form[data-auto-submit] [data-without-scripts]")) button.hidden = true;

// Ways to choose from become tabs; the last choice is remembered for all pages.
for (const choices of document.querySelectorAll("[data-choices]")) {
  const key = `choice-${choices.dataset.choices}`;
  const tabs = document.createElement("div");
  tabs.className = "choice-tabs";
  tabs.setAttribute("role", "group");
  tabs.setAttribute("aria-label", choices.dataset.label);
  const panels = new Map();
  const choose = (name) => {
    for (const [other, [button, panel]] of panels) {
      button.setAttribute("aria-pressed", String(other === name));
      panel.hidden = other !== name;
    }
  };
  for (const details of choices.querySelectorAll(":scope > details")) {
    const name = details.dataset.choice;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = details.querySelector("summary").textContent;
    button.addEventListener("click", () => {
      choose(name);
      try {
        localStorage.setItem(key, name);
      } catch {} // not allowed by the browser's settings
    });
    const panel = details.querySelector(".choice-panel");
    tabs.append(button);
    choices.append(panel);
    details.remove();
    panels.set(name, [button, panel]);
  }
  choices.prepend(tabs);
  let remembered = null;
  try {
    remembered = localStorage.getItem(key);
  } catch {}
  choose(panels.has(remembered) ? remembered : panels.keys().next().value);
}

// Exact times in the time zone of the reader; a date without a time gets none.
const exact = new Intl.DateTimeFormat(document.documentElement.lang, {
  year: "numeric", month: "short", day: "numeric", hour: "numeric", minute: "2-digit", timeZoneName: "short",
});
for (const time of document.querySelectorAll("time[datetime*=T]")) {
  time.title = exact.format(new Date(time.dateTime));
}

// "Select all" check boxes, and the button of their form, which is enabled by a selection and counts it.
for (const all of document.querySelectorAll("input[data-select-all]")) {
  const boxes = [...document.querySelectorAll(`input[name="${all.dataset.selectAll}"]`)];
  const label = all.form.querySelector("button [data-counts]");
  const words = label.textContent;
  const update = () => {
    const selected = boxes.filter((box) => box.checked).length;
    label.closest("button").disabled = selected === 0;
    label.textContent = selected ? `${words} (${selected})` : words;
    all.checked = selected === boxes.length;
    all.indeterminate = selected > 0 && !all.checked;
  };
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    update();
  });
  for (const box of boxes) box.addEventListener("change", update);
  update();
  window.addEventListener("pageshow", update); // the browser restores selections when it goes back
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

// An option of a combobox: a link, or without a URL only a text.
function option(url, name, beside, below) {
  const made = element(url ? "a" : "div", "search-result");
  if (url) {
    made.href = url;
    made.tabIndex = -1;
  }
  made.setAttribute("role", "option");
  const title = element("span", "search-result-title", name);
  if (beside) title.append(" ", element("span", "muted", beside));
  made.append(title);
  if (below) made.append(element("span", "search-result-text muted", below));
  return made;
}

// Results while typing: a combobox with a list, which keeps the focus in the box.
function combobox(input, parts) {
  const list = document.getElementById(input.dataset.results);
  const status = document.getElementById(`${list.id}-status`);
  const area = list.parentElement;
  let request = new AbortController();
  let timer;
  let chosen = -1;

  input.setAttribute("role", "combobox");
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-controls", list.id);
  input.setAttribute("aria-expanded", "false");

  const options = () => [...list.querySelectorAll("[role=option]")];

  const show = (isShown) => {
    list.hidden = !isShown;
    input.setAttribute("aria-expanded", String(isShown));
    choose(-1);
    if (!isShown) status.textContent = "";
  };

  const choose = (index) => {
    chosen = index;
    input.removeAttribute("aria-activedescendant");
    options().forEach((each, number) => {
      each.setAttribute("aria-selected", String(number === index));
      if (number !== index) return;
      input.setAttribute("aria-activedescendant", each.id);
      each.scrollIntoView({ block: "nearest" });
    });
  };

  const fill = (found, text) => {
    const results = parts(found, list.dataset, text);
    list.replaceChildren(...results);
    options().forEach((each, number) => {
      each.id = `${list.id}-${number}`;
    });
    show(results.length > 0);
    status.textContent = list.querySelector(".search-none")?.textContent ?? (results.length ? list.dataset.some : "");
  };

  const search = async () => {
    request.abort();
    const text = input.value.trim();
    if (text === "") {
      show(false);
      return;
    }
    request = new AbortController();
    const url = new URL(input.dataset.resultsUrl, location.href);
    url.searchParams.set("q", text);
    try {
      const response = await fetch(url, { signal: request.signal });
      if (response.ok) fill(await response.json(), text);
    } catch (error) {
      if (error.name !== "AbortError") show(false); // the form still works
    }
  };

  const stop = () => {
    clearTimeout(timer);
    request.abort();
  };

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, 150);
  });
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return; // keys of an input method
    const count = options().length;
    if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      event.stopPropagation();
      show(false);
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && list.hidden) {
      search();
    } else if (event.key === "ArrowDown" && count) {
      event.preventDefault();
      choose((chosen + 1) % count);
    } else if (event.key === "ArrowUp" && count) {
      event.preventDefault();
      choose(chosen < 1 ? count - 1 : chosen - 1);
    } else if (event.key === "Enter" && chosen >= 0 && !list.hidden) {
      event.preventDefault();
      options()[chosen].click();
    } else if (event.key === "Enter") {
      stop();
    }
  });
  area.addEventListener("focusout", (event) => {
    if (area.contains(event.relatedTarget)) return;
    stop();
    show(false);
  });
  list.addEventListener("mousedown", (event) => event.preventDefault()); // the focus stays in the box
  list.addEventListener("click", (event) => {
    const value = event.target.closest("[data-value]")?.dataset.value;
    if (value === undefined) return;
    stop();
    input.value = value;
    show(false);
  });
}

for (const input of document.querySelectorAll("input[data-results=search-results]")) {
  const group = (label, links) => {
    if (links.length === 0) return [];
    const made = element("div", "search-group");
    made.setAttribute("role", "group");
    made.setAttribute("aria-label", label);
    const title = element("div", "search-group-title", label);
    title.setAttribute("aria-hidden", "true");
    made.append(title, ...links);
    return [made];
  };
  combobox(input, (found, words, text) => {
    const all = new URL(input.form.action);
    all.searchParams.set(input.name, text);
    const groups = [
      ...group(words.packages, found.packages.map((each) => option(each.url, each.name, each.version, each.project))),
      ...group(words.groups, found.groups.map((each) => option(each.url, each.name, "", each.path))),
      ...group(words.projects, found.projects.map((each) => option(each.url, each.name, "", each.path))),
    ];
    return [...groups, groups.length ? option(all.href, words.all) : element("p", "search-none muted", words.none)];
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || isTyping || event.ctrlKey || event.altKey || event.metaKey) return;
    if (document.querySelector("dialog[open]")) return;
    event.preventDefault();
    input.focus();
    input.select();
  });
}

// People to add as members, by a part of the name.
for (const input of document.querySelectorAll("input[data-results=people]")) {
  combobox(input, (found) => found.users.map((user) => {
    const made = option("", user.name, `@${user.username}`);
    made.dataset.value = user.username;
    return made;
  }));
}
