const make = (name, attributes = {}, ...children) => {
  const svg = ["svg", "path", "text"].includes(name);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
};

// Returns a function that draws the probes of a row, interactive; `data` is the page's, `copy` takes words.
const timelines = (data) => {
  const start = Number(BigInt(data.start_ns) / 1000n) / 1e3, single = data.files.length < 2;
  // The probes of a row, see embedded.py; times in microseconds since the start.
  const probesOf = (number) => {
    const [from, to] = data.offsets.slice(number, number + 2), skipped = Math.floor(from / 3);
    const bytes = atob(data.probes.slice(4 * skipped, 4 * Math.ceil(to / 3)));
    let at = from - 3 * skipped, time = 0, frame = 0, before = null;
    const next = () => {
      let value = 0, scale = 1;
      do { value += (bytes.charCodeAt(at) & 127) * scale; scale *= 128; } while (bytes.charCodeAt(at++) & 128);
      return value;
    };
    const found = [], [idle, interval] = data.terms[number];
    while (at < to - 3 * skipped) {
      const since = next(), step = next(), reply = next(), silent = next();
      time += since;
      frame += step % 2 ? -(step + 1) / 2 : step / 2;
      const gap = silent > 1 ? silent - 2 : before && since;
      const later = interval && before !== null ? before + interval * 1e6 : null;
      const due = !silent ? later : silent > 1 && idle ? Math.max(time - gap + idle * 1e6, later ?? 0) : null;
      found.push({ time, frame, gap, due, reply: reply ? reply - 1 : null });
      before = time;
    }
    return found;
  };
  // Words as the rest of the page writes them.
  const duration = (us) => {
    for (const [unit, size] of [["us", 1], ["ms", 1e3], ["s", 1e6]]) {
      if (us < 1000 * size) return `${size === 1 ? us : (us / size).toPrecision(3)} ${unit}`;
    }
    const [hours, minutes] = [Math.floor(us / 36e8), Math.floor((us / 6e7) % 60)];
    return hours ? `${hours} h ${String(minutes).padStart(2, "0")} min` : `${minutes} min`;
  };
  const moment = (us) => new Date(start + us / 1e3).toISOString().replace("T", " ");
  const frameName = (frame) => (single ? `${frame}` : `${data.files[Math.floor(frame / 2 ** 32)]}:${frame % 2 ** 32}`);
  const telling = ({ time, frame, gap, due, reply }) => [
    `frame ${frameName(frame)}`, moment(time).replace("Z", " UTC"),
    gap === null ? "silence not known" : `gap ${duration(gap)}`,
    due === null ? "due not known"
      : `due ${moment(due).slice(11, 23)}, ${duration(Math.abs(time - due))} ${due > time ? "early" : "late"}`,
    reply === null ? "not answered" : `answered after ${duration(reply)}`,
  ].join(" \u00b7 ");
  // One timeline: time across, the gap before each probe upwards; drag zooms, the keyboard goes from probe to probe.
  const W = 1000, H = 130, L = 92;
  return (row, copy) => {
    const probes = probesOf(row.number);
    const keys = "arrow keys go from one to the next, Enter copies its frame, plus and minus zoom";
    const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, class: "line", tabindex: "0", role: "slider",
      "aria-label": `probes of ${row.cells[1]}: ${keys}`, "aria-valuemin": "1", "aria-valuemax": `${probes.length}` });
    const words = make("output", { class: "readout" });
    const ends = [probes[0].time, probes.at(-1).time], top = 1.1 * probes.reduce((a, { gap }) => Math.max(a, gap), 1);
    let [low, high] = ends, chosen = 0, from = null;
    const x = (time) => L + ((time - low) / Math.max(high - low, 1)) * (W - L - 12);
    const y = (gap) => H - 22 - (gap / top) * (H - 36);
    const text = (at, height, name, side = "end") => make("text", { x: at, y: height, "text-anchor": side }, name);
    const draw = () => {
      const seen = probes.filter(({ time }) => low <= time && time <= high), [idle, interval] = data.terms[row.number];
      const apart = ({ time }, number) => !number || Math.floor(x(time)) > Math.floor(x(seen[number - 1].time));
      const path = (name, of, mark) => make("path", { class: name, d: of.map(mark).join("") });
      const digits = high - low < 6e7 ? 23 : 19;
      const at = ({ time, gap }, off = 0) => `M${(x(time) - off).toFixed(1)} ${(y(gap) - off).toFixed(1)}`;
      const levels = [...new Map([[interval, "interval"], [idle, "idle"]])].filter(([s]) => s && s * 1e6 < top);
      svg.replaceChildren(
        path("axis", [y(0)], (height) => `M${L} ${height}H${W}`),
        path("due", levels, ([seconds]) => `M${L} ${y(seconds * 1e6)}H${W}`),
        ...levels.map(([seconds, name]) => text(L - 4, y(seconds * 1e6) + 4, `${name} ${seconds} s`)),
        path("answered", seen.filter(apart), (probe) => (probe.reply === null ? "" : `${at(probe)}h0`)),
        path("missed", seen.filter(({ reply }) => reply === null), (probe) => `${at(probe, 4)}l8 8m0-8l-8 8`),
        path("cursor", seen.filter((probe) => probe === probes[chosen]), ({ time }) => `M${x(time)} 6V${y(0)}`),
        text(L, H - 6, moment(low).slice(0, digits), "start"), text(W - 12, H - 6, moment(high).slice(0, digits)),
      );
      words.textContent = telling(probes[chosen]);
      svg.setAttribute("aria-valuenow", `${chosen + 1}`);
      svg.setAttribute("aria-valuetext", words.textContent);
    };
    const timeAt = (event) => low + (((event.offsetX / svg.clientWidth) * W - L) / (W - L - 12)) * (high - low);
    const choose = (number) => { chosen = Math.min(Math.max(number, 0), probes.length - 1); draw(); };
    const zoom = (a, b) => { if (b - a > 1) [low, high] = [Math.max(a, ends[0]), Math.min(b, ends[1])]; draw(); };
    const pick = () => copy((single ? "frame.number == " : "") + frameName(probes[chosen].frame));
    svg.addEventListener("pointerdown", (event) => { from = timeAt(event); });
    svg.addEventListener("pointermove", (event) => {
      const far = (number) => Math.abs(probes[number].time - timeAt(event));
      choose(probes.reduce((best, _, number) => (far(number) < far(best) ? number : best), 0));
    });
    svg.addEventListener("pointerup", (event) => {
      const span = [from ?? timeAt(event), timeAt(event)].sort((a, b) => a - b);
      if (span[1] - span[0] > (high - low) / 60) zoom(...span); else pick();
      from = null;
    });
    svg.addEventListener("dblclick", () => zoom(...ends));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, Home: -probes.length, End: probes.length }[event.key];
      const half = { "+": 0.25, "-": 1, Escape: Infinity }[event.key] * (high - low), { time } = probes[chosen];
      if (step) choose(chosen + step);
      else if (half) zoom(time - half, time + half);
      else if (event.key === "Enter") pick();
      else return;
      event.preventDefault();
    });
    draw();
    return make("div", {}, svg, words);
  };
};
