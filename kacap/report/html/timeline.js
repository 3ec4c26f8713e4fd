"use strict";
const make = (name, attributes = {}, ...children) => {
  const svg = ["svg", "path", "line", "circle", "text", "rect"].includes(name);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
};

// Returns a function that draws the probes of a row, interactive; `data` is the page's, `copy` takes words.
const timelines = (data) => {
  const start = BigInt(data.start_ns);

  // The probes of a row, see embedded.py.
  let bytes = null;
  const probesOf = (number) => {
    bytes ??= Uint8Array.from(atob(data.probes), (letter) => letter.charCodeAt(0));
    let at = data.offsets[number], time = 0, frame = 0;
    const next = () => {
      let value = 0, scale = 1, byte;
      do { byte = bytes[at++]; value += (byte & 127) * scale; scale *= 128; } while (byte & 128);
      return value;
    };
    const found = [], [idle, interval] = data.terms[number];
    while (at < data.offsets[number + 1]) {
      const since = next(), step = next(), reply = next(), silent = next();
      const first = found.length === 0;
      time += since;
      frame += step % 2 ? -(step + 1) / 2 : step / 2;
      const heard = silent > 1 ? time - (silent - 2) : null;
      const before = first ? null : time - since;
      const gap = silent > 1 ? silent - 2 : first ? null : since;
      let due = silent === 0 ? (interval && before !== null ? before + interval * 1e6 : null)
        : heard !== null && idle ? heard + idle * 1e6 : null;
      if (silent > 1 && due !== null && interval && before !== null) due = Math.max(due, before + interval * 1e6);
      found.push({ time, frame, gap, due, reply: reply ? reply - 1 : null });
    }
    return found;
  };

  // Words as the rest of the page writes them.
  const duration = (us) => {
    const size = Math.abs(us);
    if (size < 1000) return `${us} us`;
    if (size < 1e6) return `${(us / 1e3).toPrecision(3)} ms`;
    if (size < 1e9) return `${(us / 1e6).toPrecision(3)} s`;
    const minutes = Math.round(us / 6e7);
    return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  };
  const moment = (us) => new Date(Number((start + BigInt(Math.round(us)) * 1000n) / 1000000n)).toISOString().replace("T", " ");
  const frameName = (frame) => (data.files.length < 2 ? `${frame}` : `${data.files[Math.floor(frame / 2 ** 32)]}:${frame % 2 ** 32}`);
  const telling = (probe) => [
    `frame ${frameName(probe.frame)}`, moment(probe.time).replace("Z", " UTC"),
    probe.gap === null ? "silence not known" : `gap ${duration(probe.gap)}`,
    probe.due === null ? "due not known" : `due ${moment(probe.due).slice(11, 23)}, ${probe.due > probe.time
      ? `${duration(probe.due - probe.time)} early` : `${duration(probe.time - probe.due)} late`}`,
    probe.reply === null ? "not answered" : `answered after ${duration(probe.reply)}`,
  ].join(" · ");

  // One timeline: time across, the gap before each probe upwards; drag zooms, the keyboard goes from probe to probe.
  const W = 1000, H = 130, L = 92;
  return (row, copy) => {
    const probes = probesOf(row.number);
    const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, class: "line", tabindex: "0", role: "slider",
      "aria-label": `probes of ${row.cells[1]}: arrow keys go from one to the next, Enter copies its frame, plus and minus zoom`,
      "aria-valuemin": "1", "aria-valuemax": `${probes.length}` });
    const words = make("output", { class: "readout" });
    if (!probes.length) return make("div", {}, "no probe embedded");
    const ends = [probes[0].time, probes.at(-1).time];
    let [low, high] = ends, chosen = 0, from = null;
    const top = Math.max(...probes.map((probe) => probe.gap ?? 0), 1) * 1.1;
    const x = (time) => L + ((time - low) / Math.max(high - low, 1)) * (W - L - 12);
    const y = (gap) => H - 22 - ((gap ?? 0) / top) * (H - 36);
    const draw = () => {
      svg.replaceChildren();
      svg.append(make("line", { x1: L, x2: W, y1: y(0), y2: y(0), class: "axis" }));
      for (const [name, seconds] of [["idle", data.terms[row.number][0]], ["interval", data.terms[row.number][1]]]) {
        if (!seconds || seconds * 1e6 > top || (name === "interval" && seconds === data.terms[row.number][0])) continue;
        svg.append(make("line", { x1: L, x2: W, y1: y(seconds * 1e6), y2: y(seconds * 1e6), class: "due" }),
          make("text", { x: L - 4, y: y(seconds * 1e6) + 4, "text-anchor": "end" }, `${name} ${seconds} s`));
      }
      let taken = -9;
      probes.forEach((probe, number) => {
        const at = x(probe.time);
        if (at < L - 1 || at > W) return;
        if (probe.reply !== null && number !== chosen && at - taken < 1.5) return;
        if (probe.reply !== null) taken = at;
        const [cx, cy] = [at.toFixed(1), y(probe.gap).toFixed(1)];
        svg.append(probe.reply === null ? make("path", { d: `M${cx - 4} ${cy - 4}l8 8m0-8l-8 8`, class: "missed" })
          : make("circle", { cx, cy, r: 3, class: "answered" }));
      });
      const at = x(probes[chosen].time);
      if (at >= L && at <= W) svg.append(make("line", { x1: at, x2: at, y1: 6, y2: y(0), class: "cursor" }));
      svg.append(make("text", { x: L, y: H - 6 }, moment(low).slice(0, 19)),
        make("text", { x: W - 12, y: H - 6, "text-anchor": "end" }, moment(high).slice(0, 19)));
      words.textContent = telling(probes[chosen]);
      svg.setAttribute("aria-valuenow", `${chosen + 1}`);
      svg.setAttribute("aria-valuetext", words.textContent);
    };
    const timeAt = (event) => {
      const box = svg.getBoundingClientRect();
      return low + ((((event.clientX - box.left) / box.width) * W - L) / (W - L - 12)) * (high - low);
    };
    const nearest = (time) => probes.reduce((best, probe, number) => (
      Math.abs(probe.time - time) < Math.abs(probes[best].time - time) ? number : best), 0);
    const zoom = (a, b) => { [low, high] = b - a > 1 ? [Math.max(a, ends[0]), Math.min(b, ends[1])] : ends; draw(); };
    const pick = () => copy(data.files.length < 2 ? `frame.number == ${probes[chosen].frame}` : frameName(probes[chosen].frame));
    svg.addEventListener("pointerdown", (event) => { from = timeAt(event); });
    svg.addEventListener("pointermove", (event) => { chosen = nearest(timeAt(event)); draw(); });
    svg.addEventListener("pointerup", (event) => {
      const to = timeAt(event), far = from !== null && Math.abs(to - from) > (high - low) / 60;
      if (far) zoom(Math.min(from, to), Math.max(from, to)); else pick();
      from = null;
    });
    svg.addEventListener("dblclick", () => zoom(...ends));
    svg.addEventListener("keydown", (event) => {
      const span = high - low, middle = probes[chosen].time;
      const does = { ArrowRight: () => { chosen = Math.min(chosen + 1, probes.length - 1); },
        ArrowLeft: () => { chosen = Math.max(chosen - 1, 0); }, Home: () => { chosen = 0; },
        End: () => { chosen = probes.length - 1; }, Enter: pick, "+": () => zoom(middle - span / 4, middle + span / 4),
        "-": () => zoom(middle - span, middle + span), Escape: () => zoom(...ends) }[event.key];
      if (!does) return;
      event.preventDefault();
      does();
      draw();
    });
    draw();
    return make("div", {}, svg, words);
  };
};
