// Back leads to the page that the person came from, with its filters and page number. Each tab keeps the path of pages to
// the current one. Without a path (scripts off, or a page opened directly) Back keeps the server's address, the page's list.
// A link in the sidebar starts a new path. A form that was sent is removed from it.
const WAY = "way";
const LONGEST = 50;
const HERE = location.pathname + location.search;

// Lists that differ only in filters or page number are one step of the path. An object's address may contain its list's filters.
const withoutFilters = (url) => url.replace(/[?&]_changelist_filters=[^&]*/, "");
const pathOf = (url) => url.split("?")[0];

function readWay() {
  try {
    return JSON.parse(sessionStorage.getItem(WAY));
  } catch {
    return null;
  }
}

function keepWay(way) {
  try {
    sessionStorage.setItem(WAY, JSON.stringify(way.slice(-LONGEST)));
  } catch {
    // The browser stores nothing. Then the server's addresses are used.
  }
}

function wayHere() {
  const origin = document.referrer && new URL(document.referrer);
  const cameFrom = origin && origin.origin === location.origin ? origin.pathname + origin.search : "";
  const way = readWay() ?? (cameFrom && !isOutside(cameFrom) ? [cameFrom] : []); // a tab opened from a link starts there
  const before = way.findLastIndex((url) => withoutFilters(url) === withoutFilters(HERE));
  if (before >= 0) {
    return [...way.slice(0, before), HERE];
  }
  if (way.length && pathOf(way.at(-1)) === pathOf(HERE)) {
    return [...way.slice(0, -1), HERE];
  }
  return cameFrom ? [...way, HERE] : [HERE];
}

const isOutside = (url) => /\/(login|logout)\//.test(url);

function walk() {
  const way = isOutside(HERE) ? [] : wayHere();
  keepWay(way);
  const back = way.at(-2);
  if (!back) {
    return;
  }
  const list = document.querySelector("[data-back]")?.dataset.back;
  // django-unfold's Close, on read-only pages, leads to the list like the server's Back.
  const close = [...document.querySelectorAll("#submit-row a")].filter((link) => link.getAttribute("href") === list);
  for (const link of [...document.querySelectorAll("[data-back]"), ...close]) {
    link.href = back;
    link.hidden = false;
  }
}

document.addEventListener("DOMContentLoaded", walk);
window.addEventListener("pageshow", (event) => event.persisted && walk());

document.addEventListener("click", (event) => {
  const link = event.target.closest("#nav-sidebar a[href]");
  if (link && !(event.ctrlKey || event.metaKey || event.shiftKey)) {
    keepWay([]);
  }
});

document.addEventListener("submit", (event) => {
  if (event.target.method === "post" && !event.target.closest("#changelist")) {
    keepWay((readWay() ?? []).slice(0, -1));
  }
});
