"use strict";
// Reads the overview anew, in place, while somebody looks at it.
{
    const EVERY = 10000; // ms
    const root = document.getElementById("dispatch-overview");

    const replace = (html) => {
        const made = document.createElement("template");
        made.innerHTML = html;
        for (const place of made.content.querySelectorAll(".dispatch-live")) {
            const known = root.querySelector(`.dispatch-live[data-queue="${CSS.escape(place.dataset.queue)}"]`);
            place.replaceChildren(...(known ? known.childNodes : [])); // until the broker has been asked again
        }
        const focused = root.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
        root.replaceChildren(made.content);
        if (focused) {
            root.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({preventScroll: true});
        }
        document.dispatchEvent(new Event("dispatch:refreshed"));
    };

    const refresh = async () => {
        if (document.visibilityState !== "visible") {
            return;
        }
        let html = null;
        try {
            const response = await fetch(root.dataset.url, {credentials: "same-origin"});
            html = response.ok && !response.redirected ? await response.text() : null;
        } catch {
            // the server is gone: what was seen last stays, and the page says so
        }
        root.classList.toggle("dispatch-is-stale", html === null);
        if (html !== null) {
            replace(html);
        }
    };

    const follow = async () => {
        await refresh();
        window.setTimeout(follow, EVERY);
    };
    if (root?.dataset.url) {
        window.setTimeout(follow, root.querySelector(".dispatch-badge-unknown") ? 0 : EVERY);
        document.addEventListener("visibilitychange", refresh);
    }
}
