"use strict";
// Keeps parts of a page as the server has them now. A part with data-refresh is fetched from that address again and
// again, ever more seldom; when its data-state is another one, the rest of the page is out of date too, and is reloaded.
{
    const SOON = 1000; // ms
    const SELDOM = 60000;
    const SLOWER = 1.5;

    const fetched = async (address) => {
        const response = await fetch(address, {credentials: "same-origin"});
        if (!response.ok || response.redirected) {
            return null;
        }
        return new DOMParser().parseFromString(await response.text(), "text/html").body.firstElementChild;
    };

    const follow = (part, wait) => {
        window.setTimeout(async () => {
            const next = Math.min(wait * SLOWER, SELDOM);
            if (document.hidden) {
                follow(part, wait);
                return;
            }
            let fresh = null;
            try {
                fresh = await fetched(part.dataset.refresh);
            } catch {
                follow(part, next); // the server is away: what stands there is the last that is known
                return;
            }
            if (fresh === null) {
                return; // no longer allowed, or gone
            }
            if (fresh.dataset.state !== part.dataset.state) {
                window.location.reload();
                return;
            }
            part.replaceWith(fresh);
            if (fresh.dataset.refresh) {
                follow(fresh, next);
            }
        }, wait);
    };

    window.addEventListener("load", () => {
        for (const part of document.querySelectorAll("[data-refresh]")) {
            follow(part, SOON);
        }
    });
}
