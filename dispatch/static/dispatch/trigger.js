"use strict";
// Offers the chosen model's columns and the chosen task's parameters, and starts a line for each that is required.
{
    const start = () => {
        const box = document.getElementById("dispatch-choices");
        const model = document.getElementById("id_model");
        const task = document.getElementById("id_task");
        if (!box || !model || !task) {
            return; // a page that is only read
        }
        const note = box.querySelector("p");

        const offer = (id, options) => {
            document.getElementById(id).replaceChildren(...options.map(([value, label]) => {
                const option = document.createElement("option");
                option.value = value;
                option.label = label;
                return option;
            }));
        };

        const inWords = (parameter) => {
            const details = [parameter.type];
            if (parameter.required) {
                details.push(box.dataset.required);
            } else if (parameter.default) {
                details.push(`= ${parameter.default}`);
            }
            return `${parameter.name} (${details.join(", ")})`;
        };

        const describe = (parameters) => {
            note.hidden = !task.value;
            note.textContent = parameters.length
                ? `${box.dataset.intro} ${parameters.map(inWords).join(" · ")}`
                : box.dataset.none;
        };

        const lines = () => Array.from(document.querySelectorAll("#arguments-group tr.form-row:not(.empty-form)"));
        const input = (line, name) => line.querySelector(`[name$="-${name}"]`);

        const guess = (name, fields) => {
            const own = model.value.split(".").pop();
            if (name === `${own}_id` || name === `${own}_pk`) {
                return "pk";
            }
            return fields.includes(name) ? name : "";
        };

        const emptyLine = () => {
            const isEmpty = (line) => !input(line, "parameter").value && !input(line, "value").value;
            const found = lines().find(isEmpty);
            if (!found) {
                document.querySelector("#arguments-group .add-row a")?.click();
            }
            return found || lines().find(isEmpty);
        };

        const fillValues = (fields) => {
            for (const line of lines()) {
                const name = input(line, "parameter").value;
                if (name && !input(line, "value").value && input(line, "source").value === "field") {
                    input(line, "value").value = guess(name, fields);
                }
            }
        };

        const startLines = (parameters) => {
            const given = new Set(lines().map((line) => input(line, "parameter").value));
            for (const parameter of parameters.filter((p) => p.required && !given.has(p.name))) {
                const line = emptyLine();
                if (!line) {
                    return;
                }
                input(line, "parameter").value = parameter.name;
            }
        };

        const refresh = async (isChoice) => {
            const query = new URLSearchParams({model: model.value, task: task.value});
            const response = await fetch(`${box.dataset.url}?${query}`, {credentials: "same-origin"});
            if (!response.ok) {
                return; // the server checks what is typed all the same
            }
            const {fields, parameters} = await response.json();
            offer("dispatch-fields", fields.map((name) => [name, name]));
            offer("dispatch-parameters", parameters.map((p) => [p.name, inWords(p)]));
            describe(parameters);
            if (isChoice) {
                startLines(parameters);
                fillValues(fields);
            }
        };

        document.getElementById("arguments-group").prepend(note);
        let known = `${model.value} ${task.value}`;
        const onChoice = () => {
            const now = `${model.value} ${task.value}`;
            if (now !== known) { // select2 also announces what the page came with
                known = now;
                refresh(true);
            }
        };

        // select2 announces its choice through jQuery only.
        django.jQuery(task).on("change", onChoice);
        model.addEventListener("change", onChoice);
        if (model.value || task.value) {
            refresh(false);
        }
    };
    window.addEventListener("load", start);
}
