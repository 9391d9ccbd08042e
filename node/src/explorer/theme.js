// The chosen theme, before anything is painted. Without a choice the system's setting holds.
(() => {
  const kept = localStorage.getItem('theme');
  if (kept === 'light' || kept === 'dark') document.documentElement.dataset.theme = kept;
})();
