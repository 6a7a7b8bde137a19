"use strict";
// Fills the places for queues (.dispatch-live) with what the brokers show of them, after the page has loaded.
{
    const AGAIN = 1000; // ms: another page's look at the same broker is on its way
    const MOST_TRIES = 15;
    const MOST_ASKED = 100;

    const element = (name, className, text) => {
        const made = document.createElement(name);
        made.className = className;
        made.textContent = text;
        return made;
    };

    // What stands between backticks is code.
    const withCommands = (text) =>
        text.split(/`([^`]+)`/).map((part, at) => (at % 2 ? element("code", "", part) : part));

    const tooltip = (seen) => [seen.note.replaceAll("`", ""), seen.at].filter(Boolean).join(" – ");

    const fill = (place, seen) => {
        if (place.dataset.kind === "brief") {
            if (seen.kind === "active") {
                place.replaceChildren();
                return;
            }
            const badge = element("span", `dispatch-badge dispatch-badge-${seen.kind}`, seen.label);
            badge.title = tooltip(seen);
            place.replaceChildren(badge);
            return;
        }
        const isShort = place.dataset.kind === "short";
        const counts = [seen.counts, isShort ? "" : seen.at].filter(Boolean).join(", ");
        const parts = [
            element("span", `dispatch-badge dispatch-badge-${seen.kind}`, seen.label),
            element("span", "dispatch-quiet", ` ${counts}`),
        ];
        if (isShort) {
            parts[0].title = tooltip(seen);
        } else if (seen.note) {
            const note = element("span", "dispatch-live-note", "");
            note.append(...withCommands(seen.note));
            parts.push(note);
        }
        if (seen.url) {
            const link = element("a", "dispatch-remedy", seen.remedy);
            link.href = seen.url;
            parts.push(" ", link);
        }
        place.replaceChildren(...parts);
    };

    const ask = async (url, names) => {
        const query = new URLSearchParams(names.map((name) => ["queue", name]));
        const response = await fetch(`${url}?${query}`, {credentials: "same-origin"});
        return response.ok ? response.json() : null;
    };

    const follow = async (places, names, tries) => {
        let found = null;
        try {
            found = await ask(places[0].dataset.url, names);
        } catch {
            // the server is gone: the page stays as it is
        }
        for (const place of found ? places : []) {
            if (found[place.dataset.queue]) {
                fill(place, found[place.dataset.queue]);
            }
        }
        const left = found ? names.filter((name) => !found[name]) : [];
        if (left.length && tries > 0) {
            window.setTimeout(() => follow(places, left, tries - 1), AGAIN);
            return;
        }
        const unanswered = found ? left : names;
        for (const place of places.filter((p) => unanswered.includes(p.dataset.queue))) {
            place.replaceChildren(); // nothing is better than a word that is not true
        }
    };

    const start = () => {
        const places = Array.from(document.querySelectorAll(".dispatch-live"));
        for (const place of places.filter((p) => p.dataset.kind !== "brief" && !p.hasChildNodes())) {
            place.replaceChildren(element("span", "dispatch-quiet", place.dataset.asking));
        }
        const names = Array.from(new Set(places.map((place) => place.dataset.queue)));
        for (let first = 0; first < names.length; first += MOST_ASKED) {
            const some = names.slice(first, first + MOST_ASKED);
            follow(places.filter((place) => some.includes(place.dataset.queue)), some, MOST_TRIES);
        }
    };
    window.addEventListener("load", start);
    document.addEventListener("dispatch:refreshed", start);
}
