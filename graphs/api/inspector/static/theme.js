// The theme that was chosen, before anything is painted. Without a choice it is the system's.
document.documentElement.dataset.theme = localStorage.getItem("memory-theme") ?? "auto";
