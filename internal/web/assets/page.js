// What makes a page live: figures come as texts over one stream for all tabs, lists are
// fetched again as the server renders them, curves are drawn. Nothing is made of strings
// but text.
"use strict";

(() => {
  const body = document.body;
  const base = body.dataset.base;
  const topics = [...new URLSearchParams(body.dataset.topics || "").getAll("user")];
  const live = document.getElementById("live");
  const places = name => document.querySelectorAll('[data-text="' + CSS.escape(name) + '"]');

  function showTexts(texts) {
    if ("user" in texts && !topics.includes(texts.user)) return; // of whom another tab shows
    for (const [name, text] of Object.entries(texts)) {
      for (const e of places(name)) if (e.textContent !== text) e.textContent = text;
    }
  }

  function showLive(is) {
    live.hidden = !is;
  }

  // --- lists

  const between = 5000;
  let fetched = Date.now(), fetching = false;

  async function refresh() {
    if (fetching || document.hidden) return;
    fetching = true;
    fetched = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (page.body.dataset.version !== body.dataset.version) {
        location.reload(); // the program is another one
        return;
      }
      for (const e of page.querySelectorAll("[data-text]")) {
        for (const have of places(e.dataset.text)) if (have.textContent !== e.textContent) have.textContent = e.textContent;
      }
      for (const part of page.querySelectorAll("[data-part]")) {
        const have = document.querySelector('[data-part="' + part.dataset.part + '"]');
        if (!have || have.innerHTML === part.innerHTML) continue;
        const open = [...have.querySelectorAll("details[open] > summary")].map(s => s.textContent);
        const focus = have.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
        have.replaceChildren(...part.childNodes);
        for (const s of have.querySelectorAll("summary")) if (open.includes(s.textContent)) s.parentElement.open = true;
        if (focus !== null) have.querySelector('a[href="' + CSS.escape(focus) + '"]')?.focus();
      }
    } catch {
      // the next one may get through
    } finally {
      fetching = false;
    }
  }

  // --- stream

  let beat = 0;
  function hear(message) {
    if (message.texts) {
      beat = Date.now();
      showLive(true);
      if (!document.hidden) showTexts(JSON.parse(message.texts));
    } else if ("live" in message) showLive(message.live);
  }

  function follow() {
    if (typeof SharedWorker === "function") {
      const script = document.querySelector('script[src$="/page.js"]').src.replace(/page\.js$/, "stream.js");
      const port = new SharedWorker(script, "ckpool " + base).port;
      port.onmessage = e => hear(e.data);
      const say = () => port.postMessage({ base, topics, seen: !document.hidden });
      say();
      document.addEventListener("visibilitychange", say);
      window.addEventListener("pagehide", () => port.postMessage({ gone: true }));
      window.addEventListener("pageshow", say);
      return;
    }
    // Without shared workers one tab at a time has the stream, and the others hear of it.
    const channel = new BroadcastChannel("ckpool " + base + topics);
    channel.onmessage = e => hear(e.data);
    navigator.locks.request("ckpool " + base + topics, () => new Promise(() => {
      const source = new EventSource(base + "/api/v1/stream?page=1" + topics.map(t => "&user=" + encodeURIComponent(t)).join(""));
      const tell = m => { hear(m); channel.postMessage(m); };
      source.addEventListener("texts", e => tell({ texts: e.data }));
      source.onerror = () => tell({ live: false });
    }));
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh();
  });
  setInterval(() => {
    if (Date.now() - beat > 2 * between) showLive(false);
    if (Date.now() - fetched >= between) refresh(); // also where streams do not get through
  }, 1000);
  try {
    if (!("still" in body.dataset)) follow(); // else there are no streams here
  } catch {
    // fetching goes on
  }

  // --- curves

  const units = ["", "K", "M", "G", "T", "P", "E", "Z", "Y", "R", "Q"];

  // significant is a number with three digits, as the server writes it.
  function significant(v) {
    return String(Number(v.toPrecision(3)));
  }

  // rate is a hash rate as the server writes it.
  function rate(v) {
    if (!(v >= 0.001)) return "0 H/s";
    if (v < 99.95) return significant(v) + " H/s";
    if (v < 999.5) return Math.round(v) + " H/s";
    if (v >= 999.5e30) return "999 QH/s";
    let divisor = 1e3, unit = 1;
    while (v / divisor >= 999.5) { divisor *= 1e3; unit++; }
    return significant(Math.max(v / divisor, 1)) + " " + units[unit] + "H/s";
  }

  // percent is a part of 1.
  function percent(v) {
    if (v === null || v === undefined) return "–";
    return String(Number((v * 100).toPrecision(2))) + "%";
  }

  window.ckpoolFigures = { rate, percent };

  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  class Curve {
    constructor(box) {
      this.box = box;
      this.figures = box.dataset.figures.split(",");
      this.range = "day";
      this.plot = null;
    }

    async load() {
      const range = this.range;
      let answer;
      try {
        answer = await fetch(this.box.dataset.chart + "?range=" + this.range);
      } catch {
        return;
      }
      if (!answer.ok) return;
      const h = await answer.json();
      if (range !== this.range) return; // another one was chosen since
      const start = Date.parse(h.start) / 1000;
      const n = h.figures.hashrate.length;
      const data = [Array.from({ length: n }, (_, i) => start + i * h.period_seconds), ...this.figures.map(f => h.figures[f])];
      this.draw(data);
    }

    draw(data) {
      const width = this.box.clientWidth;
      if (this.plot) {
        this.plot.setData(data);
        return;
      }
      const known = data[1].some(v => v !== null);
      this.box.querySelector(".none")?.remove();
      if (!known || typeof uPlot === "undefined") {
        const none = document.createElement("p");
        none.className = "quiet none";
        none.textContent = "Nothing yet: the curve begins a few minutes after the first share.";
        this.box.append(none);
        return;
      }
      this.box.classList.add("drawn");
      const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, font: "12px system-ui" };
      const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
      const seconds = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
      const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
      const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
      const times = (u, list, axisNumber, space, step) => list.map(v => (step >= 86400 ? date : step >= 60 ? clock : seconds).format(v * 1000));
      const series = [{ label: "Time", value: (u, v) => v === null ? "–" : whole.format(v * 1000) }];
      const axes = [{ ...axis, values: times, space: 64 }], scales = { x: { time: true } };
      for (const f of this.figures) {
        const isRate = f === "hashrate";
        const show = isRate ? rate : percent;
        scales[f] = { range: (u, min, max) => [0, Math.max(max * 1.08, isRate ? 1 : 0.01)] };
        series.push({
          label: isRate ? "Hash rate" : "Rejected", scale: f, spanGaps: false, width: isRate ? 2 : 1,
          stroke: colour(isRate ? "--curve" : "--bad"), fill: isRate ? colour("--curve") + "22" : undefined,
          points: { show: data[series.length].filter(v => v !== null).length < 3, size: 6 }, value: (u, v) => v === null ? "–" : show(v),
        });
        axes.push({ ...axis, scale: f, side: isRate ? 3 : 1, size: 78, values: (u, list) => list.map(show), grid: { ...axis.grid, show: isRate } });
      }
      this.plot = new uPlot({ width, height: 240, series, axes, scales, cursor: { y: false } }, data, this.box);
    }

    resize() {
      if (this.plot) this.plot.setSize({ width: this.box.clientWidth, height: 240 });
    }

    show(range) {
      this.range = range;
      if (this.plot) { this.plot.destroy(); this.plot = null; }
      this.load();
    }
  }

  for (const box of document.querySelectorAll("[data-chart]")) {
    const curve = new Curve(box);
    const tabs = box.closest("section").querySelector("[data-ranges]");
    tabs.hidden = false;
    tabs.addEventListener("click", e => {
      const button = e.target.closest("button");
      if (!button) return;
      for (const b of tabs.querySelectorAll("button")) b.setAttribute("aria-pressed", String(b === button));
      curve.show(button.dataset.range);
    });
    let waiting = 0;
    new ResizeObserver(() => {
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(() => curve.resize());
    }).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => curve.show(curve.range));
    curve.load();
    setInterval(() => { if (!document.hidden) curve.load(); }, 10000);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) curve.load(); });
  }
})();
