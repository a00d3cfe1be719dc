// The player: two recordings side by side, at the same step.
(async () => {
  const root = document.querySelector("[data-player]");
  const source = document.querySelector("[data-episodes]");
  if (!root || !source) return;
  const bytes = Uint8Array.from(atob(source.textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const data = JSON.parse(await new Response(stream).text());
  for (const frame of data.episodes.flatMap((e) => e.steps)) {
    frame.messages = frame.messages.map(([sender, receiver, [fate, verdict], by, age, round]) => ({ sender, receiver, fate, verdict, by, age, round }));
  }
  const scenes = [...new Set(data.episodes.map((e) => e.scene ?? 0))].sort((a, b) => a - b);
  const severalSeeds = new Set(data.episodes.map((e) => e.seed)).size > 1;
  const state = { scene: scenes[0], step: 0, speed: 1, timer: null, panels: [] };

  function html(name, properties = {}, ...children) {
    const node = document.createElement(name);
    Object.assign(node, properties);
    node.append(...children);
    return node;
  }

  const nameOf = (episode) => episode.label + (severalSeeds ? ` (seed ${episode.seed})` : "");
  const ofScene = () => data.episodes.filter((e) => (e.scene ?? 0) === state.scene);
  const last = (episode) => episode.steps.length - 1;
  const longest = () => Math.max(...state.panels.map((panel) => last(panel.episode)));

  function tally(frame) {
    const counts = new Map();
    for (const message of frame.messages) {
      const words = Draw.verdict(message);
      counts.set(words, (counts.get(words) || 0) + 1);
    }
    return [...counts].map(([words, count]) => `${count} ${words}`).join(" · ") || "no messages";
  }

  // The worst fate among a step's messages.
  function mood(frame) {
    const all = frame.messages;
    if (all.some((m) => ["forged", "replayed", "tampered"].includes(m.fate) && m.verdict === "accepted")) return "hit";
    if (all.some((m) => m.verdict === "gone")) return "lost";
    if (all.some((m) => m.verdict === "refused")) return "held";
    return all.length ? "fine" : "still";
  }

  const short = (i) => data.short[i] ?? "outsider";

  // What agent i observed, as facts and as numbers.
  function observed(frame, i) {
    const facts = Object.entries(frame.facts || {}).filter(([name, values]) => name !== "role" && values[i] !== -1);
    const words = facts.map(([name, values]) => {
      if (name.startsWith("sees ")) return values[i] ? name : `does not see ${name.slice(5)}`;
      if (name.startsWith("is ")) return values[i] ? name : `is not ${name.slice(3)}`;
      return `${name} ${values[i]}`;
    });
    const numbers = (frame.observations || [])[i] || [];
    const shown = numbers.slice(0, 24).join(" ") + (numbers.length > 24 ? ` … (${numbers.length} numbers)` : "");
    return [words.join(", "), shown];
  }

  // A table of what every agent observed and received in a step.
  function views(frame) {
    const rows = data.agents.map((name, i) => {
      const [facts, numbers] = observed(frame, i);
      const inbox = frame.messages.filter((m) => m.receiver === i).map((m) => {
        const place = `from ${short(m.sender)}${m.round ? `, round ${m.round + 1}` : ""}`;
        return html("li", { className: `v-${m.verdict} f-${m.fate}`, textContent: `${place}: ${Draw.verdict(m)}` });
      });
      const saw = html("td", {}, facts);
      if (frame.altered && frame.altered[i]) saw.append(html("b", { className: "altered", textContent: " changed by an attack" }));
      if (numbers) saw.append(html("span", { className: "numbers-seen", textContent: numbers }));
      return html("tr", {}, html("th", { scope: "row", textContent: data.short[i], title: name }), saw, html("td", {}, inbox.length ? html("ul", {}, ...inbox) : "nothing"));
    });
    const head = ["agent", "observed", "received"].map((words) => html("th", { scope: "col", textContent: words }));
    return [html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...rows)];
  }

  function panel(index, title) {
    const choose = html("select", { ariaLabel: `Recording shown ${title}` });
    const board = html("div", { className: "board" });
    const strip = html("div", { className: "strip", ariaHidden: "true" });
    const status = html("p", { className: "status" });
    const detail = html("p", { className: "detail" });
    const table = html("table", { className: "views" });
    const seen = html("details", { className: "seen", open: true }, html("summary", { textContent: "What each agent saw" }), table);
    const chosen = html("b", { className: "chosen" }); // in place of the selection on paper
    const node = html("div", { className: "panel" }, html("label", { className: "choose" }, html("span", { textContent: title }), choose, chosen), board, strip, status, detail, seen);
    const self = { node, episode: null, drawing: null };

    self.fill = (wanted) => {
      const found = ofScene();
      choose.replaceChildren(...found.map((e, i) => html("option", { value: String(i), textContent: nameOf(e) })));
      let pick = found.findIndex((e) => nameOf(e) === wanted);
      if (pick < 0) {
        const attacked = found.findIndex((e) => e.attack);
        const clean = found.findIndex((e) => !e.attack && e.defense === "none");
        pick = Math.max(0, index ? (attacked < 0 ? found.length - 1 : attacked) : clean);
      }
      choose.value = String(pick);
      self.load(found[pick]);
    };
    self.load = (episode) => {
      self.episode = episode;
      chosen.textContent = nameOf(episode);
      self.drawing = Draw.board(data, episode);
      board.replaceChildren(self.drawing.svg);
      strip.replaceChildren(...episode.steps.slice(0, -1).map((frame) => html("i", { className: mood(frame) })));
    };
    self.show = (step) => {
      const t = Math.min(step, last(self.episode));
      const frame = self.episode.steps[t];
      const over = t === last(self.episode);
      self.drawing.show(t);
      [...strip.children].forEach((mark, i) => mark.classList.toggle("now", i === t && !over));
      strip.style.setProperty("--share", (last(self.episode) / longest()) * 100 + "%");
      const ended = { true: "finished", false: "not finished" }[self.episode.success] ?? "ended";
      const end = `${ended} after ${t} steps`;
      status.textContent = over ? end : `step ${t + 1} of ${last(self.episode)} · ${tally(frame)}`;
      status.classList.toggle("over", over);
      const actions = frame.actions ? data.short.map((name, i) => `${name} ${frame.actions[i]}`).join(", ") : "";
      detail.textContent = actions || "\u00a0";
      seen.hidden = over;
      if (!over) table.replaceChildren(...views(frame));
      self.drawing.svg.setAttribute("aria-label", `${nameOf(self.episode)}: ${status.textContent}. ${actions}`);
    };
    choose.addEventListener("change", () => {
      self.load(ofScene()[Number(choose.value)]);
      fit();
    });
    return self;
  }

  const icons = { back: "M11 3L5 8l6 5zM3.4 3v10", forward: "M5 3l6 5-6 5zM12.6 3v10", play: "M4.5 2.5l9 5.5-9 5.5z", pause: "M5 3v10M11 3v10" };
  function icon(button, name, label) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 16 16");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", icons[name]);
    svg.append(path);
    button.replaceChildren(svg);
    button.ariaLabel = label;
    button.title = label;
  }

  const back = html("button", { type: "button", onclick: () => go(state.step - 1) });
  const play = html("button", { type: "button", className: "play", onclick: () => (state.timer ? pause() : start()) });
  const forward = html("button", { type: "button", onclick: () => go(state.step + 1) });
  const scrub = html("input", { type: "range", min: "0", step: "1", value: "0", ariaLabel: "Step" });
  const clock = html("output", { className: "clock" });
  const speed = html("select", { ariaLabel: "Speed" }, ...[0.5, 1, 2, 4].map((s) => html("option", { value: String(s), textContent: `${s}\u00d7`, selected: s === 1 })));
  const scene = html("select", { ariaLabel: "Scene" }, ...scenes.map((s, i) => html("option", { value: String(s), textContent: `Scene ${i + 1}` })));
  icon(back, "back", "Step back");
  icon(play, "play", "Play");
  icon(forward, "forward", "Step forward");

  function render() {
    scrub.value = String(state.step);
    clock.textContent = `${state.step} / ${longest()}`;
    back.disabled = state.step === 0;
    forward.disabled = state.step === longest();
    state.panels.forEach((p) => p.show(state.step));
  }

  function go(step) {
    pause();
    state.step = Math.min(Math.max(0, step), longest());
    render();
  }

  function fit() {
    scrub.max = String(longest());
    state.step = Math.min(state.step, longest());
    render();
  }

  function start() {
    if (state.step >= longest()) state.step = 0;
    icon(play, "pause", "Pause");
    const tick = () => {
      if (state.step >= longest()) return pause();
      state.step += 1;
      render();
      state.timer = setTimeout(tick, 700 / state.speed);
      return undefined;
    };
    state.timer = setTimeout(tick, 250);
    render();
  }

  function pause() {
    clearTimeout(state.timer);
    state.timer = null;
    icon(play, "play", "Play");
  }

  scrub.addEventListener("input", () => go(Number(scrub.value)));
  speed.addEventListener("change", () => {
    state.speed = Number(speed.value);
  });
  scene.addEventListener("change", () => {
    pause();
    state.scene = Number(scene.value);
    state.step = 0;
    state.panels.forEach((p) => p.fill(nameOf(p.episode)));
    fit();
  });
  root.addEventListener("keydown", (event) => {
    if (event.target.matches("select, summary") || event.altKey || event.ctrlKey || event.metaKey) return;
    const moves = { ArrowLeft: () => go(state.step - 1), ArrowRight: () => go(state.step + 1), Home: () => go(0), End: () => go(longest()) };
    if (event.key === " " && !event.target.matches("button")) moves[" "] = () => (state.timer ? pause() : start());
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
  });

  state.panels = [panel(0, "left"), panel(1, "right")];
  state.panels.forEach((p) => p.fill(null));
  const legend = html("ul", { className: "legend" }, ...Draw.legend(data).map(([picture, words]) => html("li", {}, picture, words)));
  root.replaceChildren(
    html("div", { className: "panels" }, ...state.panels.map((p) => p.node)),
    html("div", { className: "ctl" }, html("div", { className: "buttons" }, back, play, forward), scrub, clock, speed, scene),
    legend,
  );
  root.tabIndex = 0;
  fit();
})();
