"use strict";
// Replaces a served page by newer ones, and brings the reader back to where he was: place, choices, open details, focus.
(() => {
  const PAUSE = 2000;
  const KEPT = `agentcomm ${location.port}`;
  const line = document.querySelector("[data-live]");
  const note = line.querySelector("[data-live-note]");
  const said = new Date(Number(line.dataset.changed)).toLocaleTimeString();
  const usual = Number(line.dataset.changed) ? ` \u00b7 changed at ${said}` : "";
  note.textContent = usual;

  // Controls and areas that scroll, each with a key that a newer page has, too.
  function* keyed(selector) {
    const counts = new Map();
    for (const node of document.querySelectorAll(selector)) {
      const home = node.closest("section[id], header[id]");
      const name = [home ? home.id : "", node.tagName, node.ariaLabel || node.name || "", node.type === "radio" ? node.value : ""].join("/");
      counts.set(name, (counts.get(name) || 0) + 1);
      yield [`${name}/${counts.get(name)}`, node];
    }
  }
  const CONTROLS = "main select, main input";
  const FOCUSABLE = "a[href], button, select, input, summary, [tabindex]";
  const chosen = (node) => {
    if (node.type === "radio" || node.type === "checkbox") return node.checked;
    return node.tagName === "SELECT" ? node.selectedOptions[0]?.textContent : node.value;
  };

  function choose(node, value) {
    if (chosen(node) === value) return;
    if (node.tagName === "SELECT") {
      const option = [...node.options].find((o) => o.textContent === value);
      if (!option) return;
      node.value = option.value;
    } else if (node.type === "radio" || node.type === "checkbox") {
      if (node.type === "radio" && !value) return;
      node.checked = value;
    } else {
      node.value = value;
    }
    node.dispatchEvent(new Event("input", { bubbles: true }));
    node.dispatchEvent(new Event("change", { bubbles: true }));
  }

  // The last section that begins above the window's top, and how far: what is inserted above it moves nobody.
  function place() {
    const above = [...document.querySelectorAll("main [id]")].filter((node) => node.getBoundingClientRect().top < 80);
    const at = above[above.length - 1];
    return { id: at ? at.id : "", top: at ? at.getBoundingClientRect().top : 0, y: window.scrollY };
  }

  function keep() {
    const focused = [...keyed(FOCUSABLE)].find(([, node]) => node === document.activeElement);
    const left = {
      place: place(),
      controls: [...keyed(CONTROLS)].map(([key, node]) => [key, chosen(node)]),
      open: [...keyed("details")].map(([key, node]) => [key, node.open]),
      scrolled: [...keyed(".scroll, pre")].map(([key, node]) => [key, node.scrollLeft, node.scrollTop]),
      focus: focused ? focused[0] : null,
    };
    sessionStorage.setItem(KEPT, JSON.stringify(left));
  }

  const state = JSON.parse(sessionStorage.getItem(KEPT) || "null");
  function restore() {
    if (!state) return;
    const open = new Map(state.open);
    for (const [key, node] of keyed("details")) node.open = open.get(key) ?? node.open;
    const controls = new Map(state.controls);
    for (let pass = 0; pass < 2; pass += 1) { // twice, as one choice may decide what another offers
      for (const [key, node] of keyed(CONTROLS)) if (controls.has(key)) choose(node, controls.get(key));
    }
    const scrolled = new Map(state.scrolled.map(([key, ...to]) => [key, to]));
    for (const [key, node] of keyed(".scroll, pre")) if (scrolled.has(key)) node.scrollTo(...scrolled.get(key));
    for (const [key, node] of keyed(FOCUSABLE)) if (key === state.focus) node.focus({ preventScroll: true });
    const at = state.place.id && document.getElementById(state.place.id);
    if (at) window.scrollBy(0, at.getBoundingClientRect().top - state.place.top);
    else window.scrollTo(0, state.place.y);
  }

  // Nothing is taken from a reader who watches an episode or marks text.
  const busy = () => document.querySelector("[data-player] button[aria-label=Pause]") || String(getSelection());

  async function look() {
    try {
      const answer = await fetch("/", { method: "HEAD", cache: "no-store" });
      line.classList.remove("lost");
      if (!answer.ok || answer.headers.get("ETag") === line.dataset.tag) note.textContent = usual;
      else if (busy()) note.textContent = " \u00b7 newer results follow";
      else {
        location.reload();
        return;
      }
    } catch {
      line.classList.add("lost");
      note.textContent = " \u00b7 not connected: start agentcomm report --serve again";
    }
    setTimeout(look, PAUSE);
  }

  history.scrollRestoration = "manual";
  addEventListener("pagehide", keep);
  restore();
  const player = document.querySelector("[data-player]");
  if (player && !player.querySelector("select")) { // it is built once its recordings are unpacked
    const built = new MutationObserver(() => {
      if (!player.querySelector("select")) return;
      built.disconnect();
      restore();
    });
    built.observe(player, { childList: true });
  }
  setTimeout(look, PAUSE);
})();
