// Light, dark, or as the system has it: one choice for all pages of this origin.

/** Binds a select with the values system, light and dark. */
export function bindTheme(select) {
  const apply = () => {
    if (select.value === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = select.value;
  };
  select.value = localStorage.getItem("theme") ?? "system";
  select.addEventListener("change", () => {
    localStorage.setItem("theme", select.value);
    apply();
  });
  apply();
}
