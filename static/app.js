// Enhancements of pages that work without scripts: copy buttons, confirmation dialogs, menus, tabs, suggested paths, and
// times in the reader's time zone.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue; // only on https and localhost
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    const label = button.getAttribute("aria-label");
    button.classList.add("is-done");
    button.setAttribute("aria-label", button.dataset.done);
    button.title = button.dataset.done;
    setTimeout(() => {
      button.classList.remove("is-done");
      button.setAttribute("aria-label", label);
      button.title = label;
    }, 2000);
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

// Exact times in the time zone of the reader.
const exact = new Intl.DateTimeFormat(document.documentElement.lang, {
  year: "numeric", month: "short", day: "numeric", hour: "numeric", minute: "2-digit", timeZoneName: "short",
});
for (const time of document.querySelectorAll("time[datetime]")) {
  time.title = exact.format(new Date(time.dateTime));
}

// "Select all" check boxes.
for (const all of document.querySelectorAll("input[data-select-all]")) {
  const boxes = document.querySelectorAll(`input[name="${all.dataset.selectAll}"]`);
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
  });
}
