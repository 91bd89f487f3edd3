// Back leads to where one came from, with its filters and page: the way to the present page is kept for each tab. Without
// it (scripts off, or a page that was reached directly) Back keeps the address that the server gave it, the page's list.
// The sidebar begins a new way; a form that was sent is no place to come back to.
const WAY = "way";
const LONGEST = 50;
const HERE = location.pathname + location.search;

// A list under other filters, or at another page, is the same stop; the address of an object may carry its list's.
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
    // A browser that keeps nothing: the server's addresses do.
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
  // The library's Close, under a page that is only looked at, leads to the list like the server's Back.
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
