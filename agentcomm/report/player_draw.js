// Draws one frame of a recorded episode as SVG. Cells are 10 units wide; an agent's place is the middle of its cell.
const Draw = (() => {
  const NS = "http://www.w3.org/2000/svg";
  const CELL = 10;
  const GLYPHS = { dropped: "\u00d7", lost: "\u00d7", delayed: "\u2026", late: "\u2026", tampered: "~", forged: "!", replayed: "\u21bb" };
  // Messages that do not arrive in this step.
  const goneBy = (message) => message.verdict === "gone";
  const NAMES = { delivered: "delivered", dropped: "dropped by an attack", lost: "lost by a channel", delayed: "delayed" };

  // What became of a message, in words.
  function verdict({ fate, verdict: outcome, by, age }) {
    const words = fate === "late" ? `late by ${age} ${age === 1 ? "step" : "steps"}` : NAMES[fate] || fate;
    if (outcome === "gone") return words;
    const accepted = fate === "delivered" ? "accepted" : `${words}, accepted`;
    return outcome === "accepted" ? accepted : `${fate === "delivered" ? "" : `${words}, `}refused${by ? ` by ${by}` : ""}`;
  }

  function make(name, attributes = {}, ...children) {
    const node = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  const SHAPES = {
    circle: (r) => make("circle", { r }),
    square: (r) => make("rect", { x: -0.88 * r, y: -0.88 * r, width: 1.76 * r, height: 1.76 * r, rx: 0.2 * r }),
    triangle: (r) => make("path", { d: `M0 ${-1.15 * r}L${1.12 * r} ${0.8 * r}H${-1.12 * r}Z` }),
    diamond: (r) => make("path", { d: `M0 ${-1.2 * r}L${1.2 * r} 0L0 ${1.2 * r}L${-1.2 * r} 0Z` }),
    hexagon: (r) => make("path", { d: `M${-1.05 * r} 0l${0.52 * r} ${-0.9 * r}h${1.06 * r}l${0.52 * r} ${0.9 * r}l${-0.52 * r} ${0.9 * r}h${-1.06 * r}Z` }),
  };

  const isGrid = (data, frame) => Number.isInteger(data.size) && Array.isArray(frame.agents) && frame.agents.every(Array.isArray);

  // Middle of every agent; agents that share a cell stand around its middle. Without a grid they stand on a ring.
  function places(data, frame) {
    if (!isGrid(data, frame)) {
      const n = data.agents.length;
      return data.agents.map((_, i) => {
        const angle = (2 * Math.PI * i) / n - Math.PI / 2;
        return { x: 25 + 18 * Math.cos(angle), y: 25 + 18 * Math.sin(angle), r: 3 };
      });
    }
    const groups = new Map();
    frame.agents.forEach(([row, column], i) => {
      const key = `${row},${column}`;
      groups.set(key, [...(groups.get(key) || []), i]);
    });
    return frame.agents.map(([row, column], i) => {
      const group = groups.get(`${row},${column}`);
      const angle = (2 * Math.PI * group.indexOf(i)) / group.length - Math.PI / 2;
      const off = group.length > 1 ? 2.7 : 0;
      return {
        x: (column + 0.5) * CELL + off * Math.cos(angle),
        y: (row + 0.5) * CELL + off * Math.sin(angle),
        r: group.length > 1 ? 2.1 : 2.9,
      };
    });
  }

  function toward(from, to, by) {
    const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
    return { x: from.x + ((to.x - from.x) / length) * by, y: from.y + ((to.y - from.y) / length) * by };
  }

  // One message as an arrow. Line style and sign show its fate; a bar at the receiver shows that it was refused.
  function arrow(message, from, to, bend) {
    const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
    const middle = {
      x: (from.x + to.x) / 2 - ((to.y - from.y) / length) * bend,
      y: (from.y + to.y) / 2 + ((to.x - from.x) / length) * bend,
    };
    const start = toward(from, middle, from.r + 0.5);
    const refused = message.verdict === "refused";
    let end = toward(to, middle, to.r + (refused ? 2.2 : 0.7));
    if (goneBy(message)) end = { x: (start.x + 2 * middle.x + end.x) / 4, y: (start.y + 2 * middle.y + end.y) / 4 };
    const base = refused || goneBy(message) ? end : toward(end, middle, 1.9);
    const control = goneBy(message) ? toward(start, middle, Math.hypot(middle.x - start.x, middle.y - start.y) / 2) : middle;
    const group = make("g", { class: `message ${message.fate}${refused ? " refused" : ""}` });
    const title = make("title");
    title.textContent = verdict(message);
    group.append(title, make("path", { d: `M${start.x} ${start.y}Q${control.x} ${control.y} ${base.x} ${base.y}` }));
    const ahead = toward(middle, to, 1);
    const ux = ahead.x - middle.x;
    const uy = ahead.y - middle.y;
    if (refused) {
      group.append(make("path", { class: "bar-end", d: `M${end.x - uy * 1.3} ${end.y + ux * 1.3}L${end.x + uy * 1.3} ${end.y - ux * 1.3}` }));
    } else if (!goneBy(message)) {
      const corners = [end, { x: base.x - uy, y: base.y + ux }, { x: base.x + uy, y: base.y - ux }];
      group.append(make("polygon", { points: corners.map((p) => `${p.x},${p.y}`).join(" ") }));
    }
    const glyph = GLYPHS[message.fate];
    if (glyph) {
      const at = goneBy(message) ? end : { x: (start.x + 2 * middle.x + end.x) / 4, y: (start.y + 2 * middle.y + end.y) / 4 };
      const text = make("text", { x: at.x, y: at.y + 0.95 });
      text.textContent = glyph;
      group.append(make("circle", { class: "sign", cx: at.x, cy: at.y, r: 1.5 }), text);
    }
    return group;
  }

  function messages(frame, spots) {
    const drawn = [];
    const pairs = new Map();
    const same = new Set();
    for (const message of frame.messages) {
      const to = spots[message.receiver];
      const what = `${message.sender}>${message.receiver} ${message.fate} ${message.verdict} ${message.by}`;
      // one arrow for what several rounds of a step have in common; the line below the board counts them
      if (!to || message.sender === message.receiver || same.has(what)) continue;
      same.add(what);
      const from = spots[message.sender] || { x: -3, y: to.y, r: 0 }; // a sender outside the team
      const pair = `${message.sender}>${message.receiver}`;
      const nth = pairs.get(pair) || 0;
      pairs.set(pair, nth + 1);
      const length = Math.hypot(to.x - from.x, to.y - from.y);
      // agents in one cell or beside each other are too close for a gentle bend: theirs goes around
      const bend = Math.max(0.16 * length + 1, 9 - 0.5 * length);
      drawn.push(arrow(message, from, to, bend + 2.8 * nth));
    }
    return drawn;
  }

  // Whether a member of the team has failed and left.
  const gone = (frame, i) => Array.isArray(frame.alive) && !frame.alive[i];

  function sight(data, frame) {
    if (!isGrid(data, frame) || data.vision === null || data.vision === undefined) return [];
    return frame.agents.flatMap(([row, column], i) => {
      const reach = Array.isArray(data.vision) ? data.vision[i] : data.vision;
      if (!Number.isInteger(reach) || gone(frame, i)) return [];
      const [top, left] = [Math.max(0, row - reach), Math.max(0, column - reach)];
      const bottom = Math.min(data.size, row + reach + 1);
      const right = Math.min(data.size, column + reach + 1);
      return [make("rect", { class: "sight", x: left * CELL, y: top * CELL, width: (right - left) * CELL, height: (bottom - top) * CELL, rx: 1 })];
    });
  }

  // A board with persistent agents, so that they glide from frame to frame.
  function board(data, episode) {
    const grid = isGrid(data, episode.steps[0]);
    const side = grid ? data.size * CELL : 50;
    const svg = make("svg", { viewBox: `-3 -1 ${side + 6} ${side + 2}`, role: "img" });
    const lines = make("g", { class: "cells" });
    if (grid) {
      for (let i = 0; i <= data.size; i += 1) {
        lines.append(make("path", { d: `M${i * CELL} 0V${side}M0 ${i * CELL}H${side}` }));
      }
    }
    const [seen, trails, prey, wire, team] = ["seen", "trails", "prey", "wire", "team"].map((name) => make("g", { class: name }));
    const agents = data.agents.map((name, i) => {
      const node = make("g", { class: "agent" });
      const body = make("g", { class: "body" });
      const label = make("text", { y: data.shapes[i] === "triangle" ? 1.35 : 0.95 });
      label.textContent = data.short[i];
      const closed = make("g", { class: "closed" }, make("circle", { cx: 2.7, cy: -2.7, r: 1.35 }), make("path", { d: "M1.95 -2.7h1.5" }));
      const title = make("title");
      title.textContent = name;
      node.append(title, body, label, closed);
      body.append((SHAPES[data.shapes[i]] || SHAPES.circle)(2.9));
      team.append(node);
      return { node, closed };
    });
    svg.append(lines, seen, trails, prey, wire, team);

    function show(t) {
      const frame = episode.steps[t];
      const spots = places(data, frame);
      seen.replaceChildren(...sight(data, frame));
      prey.replaceChildren(
        ...(grid && Array.isArray(frame.prey) ? frame.prey : []).map(([row, column]) =>
          make("path", { d: `M${(column + 0.5) * CELL} ${row * CELL + 0.9}l4.1 4.1l-4.1 4.1l-4.1 -4.1z` }),
        ),
      );
      trails.replaceChildren(
        ...(grid ? frame.agents : []).flatMap((_, i) => {
          if (gone(frame, i)) return [];
          const past = episode.steps.slice(Math.max(0, t - 4), t + 1).filter((old) => !gone(old, i)).map((old) => old.agents[i]);
          return make("path", { d: `M${past.map(([row, column]) => `${(column + 0.5) * CELL} ${(row + 0.5) * CELL}`).join("L")}` });
        }),
      );
      wire.replaceChildren(...messages(frame, spots));
      agents.forEach(({ node, closed }, i) => {
        node.style.transform = `translate(${spots[i].x}px, ${spots[i].y}px) scale(${spots[i].r / 2.9})`;
        node.style.display = gone(frame, i) ? "none" : "";
        closed.style.display = frame.gates && frame.gates[i] === false ? "" : "none";
      });
    }
    return { svg, show };
  }

  // Entries of the legend: a little picture made with the same code, and its words. Of what stands on the board, only
  // what these episodes show.
  function legend(data) {
    const from = { x: 0.5, y: 2.5, r: 0 };
    const to = { x: 15.5, y: 2.5, r: 0 };
    const entries = [
      ["delivered", "accepted", "accepted"],
      ["delivered", "refused", "refused by a defense or a closed gate"],
      ["dropped", "gone", "dropped by an attack"],
      ["lost", "gone", "lost by a channel"],
      ["delayed", "gone", "delayed"],
      ["late", "accepted", "late: sent in an earlier step"],
      ["tampered", "accepted", "changed by an attack"],
      ["forged", "accepted", "forged in the name of the agent where it starts"],
      ["replayed", "accepted", "a copy of one of its earlier messages"],
    ];
    const pictures = entries.map(([fate, outcome, words]) => {
      const svg = make("svg", { viewBox: "0 0 16 5", class: "key-arrow", "aria-hidden": "true" });
      svg.append(arrow({ fate, verdict: outcome }, from, to, 0.01));
      return [svg, words];
    });
    const closed = make("svg", { viewBox: "-2 -2 4 4", class: "key-shape", "aria-hidden": "true" });
    closed.append(make("g", { class: "closed" }, make("circle", { r: 1.35 }), make("path", { d: "M-0.75 0h1.5" })));
    const prey = make("svg", { viewBox: "-5 -5 10 10", class: "key-shape", "aria-hidden": "true" });
    prey.append(make("g", { class: "prey" }, make("path", { d: "M0 -4.1l4.1 4.1l-4.1 4.1l-4.1 -4.1z" })));
    const seen = make("svg", { viewBox: "0 0 10 10", class: "key-shape", "aria-hidden": "true" });
    seen.append(make("rect", { class: "sight", width: 10, height: 10, rx: 1 }));
    const shows = (drawn) => data.episodes.some((episode) => episode.steps.some((frame) => isGrid(data, frame) && drawn(frame)));
    const onBoard = [
      [shows((frame) => Array.isArray(frame.prey) && frame.prey.length > 0), [prey, "prey"]],
      [shows((frame) => sight(data, frame).length > 0), [seen, "in sight"]],
    ];
    const known = onBoard.filter(([shown]) => shown).map(([, entry]) => entry);
    return [...pictures, [closed, "closed gate: does not listen"], ...known];
  }

  return { board, legend, verdict };
})();
