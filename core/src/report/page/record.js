// What the run was made of: configuration, versions, hashes.

function record() {
  const { record: made, config, directory, pleach } = run.document;
  const { host, plugins, machine, dataset, set } = made;
  const facts = [
    ["run directory", directory],
    ["pleach", host && `${host.version}, ABI ${host.abi ?? "unknown"}`],
    ["SHA-256 of pleach", host && host.sha256, "hash mono"],
    ["machine", machine && Object.entries(machine).filter(([, value]) => value !== null).map(([key, value]) => `${key} ${value}`).join(", ")],
    ["data set", dataset && `${dataset.name}: ${grouped(dataset.train)} training and ${grouped(dataset.test)} test images, ${dataset.classes.length} classes`],
    ["set", set && set.length ? set.map((one) => `--set ${one}`).join("  ") : null, "mono"],
    ["report by", `pleach ${pleach}`],
  ];
  const columns = [
    { title: "plugin", value: (plugin) => plugin.name },
    { title: "version", value: (plugin) => plugin.version },
    { title: "SDK", value: (plugin) => plugin.sdk },
    { title: "ABI", isNumber: true, value: (plugin) => plugin.abi },
    { title: "compiler", value: (plugin) => plugin.compiler },
    { title: "SHA-256", style: "hash mono", value: (plugin) => plugin.sha256 },
  ];
  return part("record", "What the run was made of", null, el("div", { class: "stack" },
    el("dl", { class: "facts" }, facts.filter(([, value]) => value).map(([title, value, style]) => [el("dt", {}, title), el("dd", { class: style || null }, value)])),
    Array.isArray(plugins) && el("div", {}, el("h3", {}, "Plugins"), table("Plugins", columns, plugins)),
    el("div", {}, el("h3", {}, "The run file, as given"), el("pre", { tabindex: 0, "aria-label": "The run file" }, config)),
    el("details", {}, el("summary", {}, "Everything that run.json says"), el("pre", { tabindex: 0 }, JSON.stringify(made, null, 2)))));
}
