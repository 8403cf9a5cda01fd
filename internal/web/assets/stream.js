// One stream of events for all tabs of a browser: this runs once, as a shared worker.
// Each tab says which users it shows and whether it can be seen; where none can there is
// no stream.
"use strict";

const tabs = new Map(); // port -> {base, topics, seen}
let source = null, wanted = "";

function tell(message) {
  for (const port of tabs.keys()) port.postMessage(message);
}

function follow() {
  const seen = [...tabs.values()].filter(t => t.seen);
  const topics = [...new Set(seen.flatMap(t => t.topics))].sort().slice(0, 8);
  const url = seen.length ? seen[0].base + "/api/v1/stream?page=1" + topics.map(t => "&user=" + encodeURIComponent(t)).join("") : "";
  if (url === wanted && (!source || source.readyState !== EventSource.CLOSED)) return;
  wanted = url;
  if (source) source.close();
  source = null;
  if (!url) return;
  source = new EventSource(url);
  source.addEventListener("texts", e => tell({ texts: e.data }));
  source.onopen = () => tell({ live: true });
  source.onerror = () => {
    tell({ live: false });
    if (source && source.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
  };
}

self.onconnect = e => {
  const port = e.ports[0];
  port.onmessage = m => {
    if (m.data.gone) tabs.delete(port);
    else tabs.set(port, m.data);
    follow();
  };
  port.start();
};
