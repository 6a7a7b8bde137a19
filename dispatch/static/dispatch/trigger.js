"use strict";
// Lets the form of a trigger offer what fits: the chosen model's columns, the operators and values of each column, and
// a line for each parameter of the chosen task. The text inputs stay what is sent: each gets a select beside it that
// writes into it. The server checks all of it, with this script and without.
{
    const MULTILINE = {in: "several", not_in: "several", changed_from_to: "fromTo"};
    const SINGLE = ["equals", "not_equals", "changed_from", "changed_to"];

    const start = () => {
        const box = document.getElementById("dispatch-choices");
        const model = document.getElementById("id_model");
        const task = document.getElementById("id_task");
        if (!box || !model || !task) {
            return; // a page that is only read
        }
        const words = box.dataset;
        const note = box.querySelector("p");
        let known = {fields: [], watched: [], relations: [], parameters: []};

        const option = (value, text) => {
            const made = document.createElement("option");
            made.value = value;
            made.textContent = text;
            return made;
        };
        const lines = (group) => Array.from(
            document.querySelectorAll(`#${group}-group tr.form-row:not(.empty-form)`),
        );
        const input = (line, name) => line.querySelector(`[name$="-${name}"]`);
        const isColumn = (field, name) => field.name === name || field.aliases.includes(name);
        const column = (name) => known.fields.find((field) => isColumn(field, name));
        // A column is offered under the name that is given already: "pk" stays "pk".
        const columnNames = (given = "") => known.fields.map(
            (field) => [isColumn(field, given) ? given : field.name, `${field.name} (${field.type})`],
        );

        // The select that stands in for a text input, or the input itself where there is nothing to choose from.
        const standIn = (field, options, label) => {
            let select = field.parentNode.querySelector(`select[data-for="${field.name}"]`);
            if (!select) {
                select = document.createElement("select");
                select.dataset.for = field.name;
                select.id = `${field.id}-choice`;
                select.addEventListener("change", () => {
                    field.value = select.value;
                    field.dispatchEvent(new Event("change", {bubbles: true}));
                });
                field.after(select);
            }
            select.setAttribute("aria-label", label);
            field.hidden = options.length > 0;
            select.hidden = !field.hidden;
            const offered = [["", `— ${words.choose} —`], ...options];
            if (field.value && !options.some(([value]) => value === field.value)) {
                offered.push([field.value, `${field.value} (${words.gone})`]);
            }
            select.replaceChildren(...offered.map(([value, text]) => option(value, text)));
            select.value = field.value;
            return select;
        };

        const hint = (after, text) => {
            let made = after.parentNode.querySelector(".dispatch-hint");
            if (!made) {
                made = document.createElement("div");
                made.className = "dispatch-hint dispatch-quiet";
                after.parentNode.append(made);
            }
            made.textContent = text;
            made.hidden = !text;
        };

        const nothing = (field) => {
            standIn(field, [], "").hidden = true;
            field.hidden = true;
            hint(field, "");
        };

        // ------------------------------------------------------------- conditions

        const everyOperator = Array.from(
            document.querySelector('#conditions-group [name$="-operator"]')?.options ?? [],
        ).map(({value, text}) => [value, text]);

        const offerOperators = (select, field, isChoice) => {
            const fitting = everyOperator.filter(([value]) => !field || field.operators.includes(value));
            const current = select.value;
            const fits = fitting.some(([value]) => value === current);
            if (!fits && !isChoice) {
                const stored = everyOperator.find(([value]) => value === current);
                fitting.push([current, `${stored ? stored[1] : current} (${words.misfit})`]);
            }
            select.replaceChildren(...fitting.map(([value, text]) => option(value, text)));
            select.value = fits || !isChoice ? current : fitting[0][0];
        };

        const offerValue = (line, field, operator) => {
            const value = input(line, "value");
            if (operator === "changed") {
                value.value = "";
                nothing(value);
                return;
            }
            let options = [];
            if (operator === "is_null") {
                options = [["yes", words.yes], ["no", words.no]];
            } else if (field && SINGLE.includes(operator)) {
                options = field.choices;
            }
            standIn(value, options, words.value);
            hint(value, words[MULTILINE[operator]] ?? "");
            value.rows = MULTILINE[operator] ? 3 : 1;
        };

        const dressCondition = (line, isChoice) => {
            const [name, operator] = [input(line, "field"), input(line, "operator")];
            standIn(name, columnNames(name.value), words.field);
            const field = column(name.value);
            offerOperators(operator, field, isChoice);
            offerValue(line, field, operator.value);
        };

        // -------------------------------------------------------------- arguments

        const inWords = (parameter) => {
            const fallback = parameter.default ? ` = ${parameter.default}` : "";
            return `${parameter.type}, ${parameter.required ? words.required : words.optional}${fallback}`;
        };

        const dressArgument = (line) => {
            const [name, source, value] = ["parameter", "source", "value"].map((part) => input(line, part));
            const parameter = known.parameters.find((each) => each.name === name.value);
            hint(name, parameter ? inWords(parameter) : "");
            line.classList.toggle("dispatch-required", Boolean(parameter?.required));
            if (["field", "old"].includes(source.value)) {
                standIn(value, columnNames(value.value), words.field);
                hint(value, "");
            } else if (source.value === "constant") {
                standIn(value, [], words.value);
                hint(value, words.json);
            } else {
                nothing(value);
            }
        };

        const isUnused = (line) => {
            const [name, value] = [input(line, "parameter"), input(line, "value")];
            const isStarted = line.dataset.started === name.value; // by this script, for a task chosen before
            return !name.readOnly && (!name.value || isStarted) && (!value.value || isStarted);
        };

        const freeLine = (names) => {
            const isFree = (line) => isUnused(line) && !names.has(input(line, "parameter").value);
            if (!lines("arguments").some(isFree)) {
                document.querySelector("#arguments-group .add-row a")?.click();
            }
            return lines("arguments").find(isFree);
        };

        const guess = (line, parameter) => {
            const [source, value] = [input(line, "source"), input(line, "value")];
            const own = model.value.split(".").pop();
            value.value = "";
            if ([`${own}_id`, `${own}_pk`].includes(parameter.name)) {
                source.value = "pk";
            } else if (known.fields.some((field) => field.name === parameter.name)) {
                [source.value, value.value] = ["field", parameter.name];
            } else {
                source.value = parameter.required ? "field" : "";
            }
        };

        const startLines = () => {
            const names = new Set(known.parameters.map((parameter) => parameter.name));
            for (const parameter of known.parameters) {
                const given = lines("arguments").find((line) => input(line, "parameter").value === parameter.name);
                const line = given ?? freeLine(names);
                if (!line) {
                    return;
                }
                if (!given || (isUnused(line) && !input(line, "value").value)) {
                    input(line, "parameter").value = parameter.name;
                    line.dataset.started = parameter.name;
                    guess(line, parameter);
                }
            }
            for (const line of lines("arguments").filter(isUnused)) {
                if (!names.has(input(line, "parameter").value)) {
                    input(line, "parameter").value = "";
                    input(line, "value").value = "";
                }
            }
        };

        // ------------------------------------------------------- events and watched

        const offerWatched = () => {
            const list = document.getElementById("id_watched");
            const chosen = new Set(Array.from(list.querySelectorAll(":checked"), (each) => each.value));
            list.replaceChildren(...known.watched.map(([value, text], place) => {
                const [row, label, check] = ["div", "label", "input"].map((tag) => document.createElement(tag));
                Object.assign(check, {type: "checkbox", name: "watched", value, id: `id_watched_${place}`});
                check.checked = chosen.has(value);
                label.htmlFor = check.id;
                label.append(check, ` ${text}`);
                row.append(label);
                return row;
            }));
            hint(list, known.watched.length ? "" : words.model);
        };

        const limitEvents = () => {
            const isNone = Boolean(model.value) && !known.relations.length;
            for (const check of document.querySelectorAll('[name="events"][value^="m2m_"]')) {
                check.disabled = isNone && !check.checked;
                check.closest("label").title = isNone ? words.relations : "";
            }
        };

        // ---------------------------------------------------------------- together

        const dress = () => {
            lines("conditions").forEach((line) => dressCondition(line, false));
            lines("arguments").forEach((line) => dressArgument(line));
            limitEvents();
        };

        const offerList = (id, options) => {
            document.getElementById(id).replaceChildren(...options.map(([value, text]) => option(value, text)));
        };

        const refresh = async (isChoice) => {
            const query = new URLSearchParams({model: model.value, task: task.value});
            const response = await fetch(`${words.url}?${query}`, {credentials: "same-origin"});
            if (!response.ok) {
                return; // the server checks what is typed all the same
            }
            known = await response.json();
            offerList("dispatch-fields", columnNames());
            offerList("dispatch-parameters", known.parameters.map((each) => [each.name, inWords(each)]));
            note.hidden = !task.value || known.parameters.length > 0;
            note.textContent = words.none;
            if (isChoice) {
                offerWatched();
                startLines();
            } else if (!model.value) {
                hint(document.getElementById("id_watched"), words.model);
            }
            dress();
        };

        document.getElementById("arguments-group").prepend(note);
        let chosen = `${model.value} ${task.value}`;
        const onChoice = () => {
            const now = `${model.value} ${task.value}`;
            if (now !== chosen) { // select2 also announces what the page came with
                chosen = now;
                refresh(true);
            }
        };
        const onLine = ({target}) => {
            const line = target.closest("tr.form-row:not(.empty-form)");
            if (line?.closest("#conditions-group")) {
                dressCondition(line, true);
            } else if (line) {
                delete line.dataset.started;
                dressArgument(line);
            }
        };

        // select2 announces its choice through jQuery only.
        django.jQuery(task).on("change", onChoice);
        model.addEventListener("change", onChoice);
        for (const group of ["conditions", "arguments"]) {
            document.getElementById(`${group}-group`).addEventListener("change", onLine);
        }
        document.addEventListener("formset:added", dress);
        refresh(false);
    };
    window.addEventListener("load", start);
}
