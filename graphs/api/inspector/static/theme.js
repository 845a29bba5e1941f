// Sets the chosen theme before the first paint. Without a choice, the system's theme is used.
document.documentElement.dataset.theme = localStorage.getItem("memory-theme") ?? "auto";
