// The node's settings for the explorer, which it writes into the document.

/** `pages`: the file of each page by URL pattern; `topics`: the topics of the node's events. */
export const { pages, topics } = JSON.parse(document.getElementById('config').textContent);
