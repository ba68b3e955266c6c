// Sorts the table of all trials by a click on a heading, and says so where that is a look at test.
const table = document.getElementById("trials");
const value = (row, place) => {
  const text = row.cells[place].textContent.trim();
  const number = parseFloat(text);
  return Number.isNaN(number) ? text : number;
};
const compare = (a, b) => {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1;
};
table.tHead.addEventListener("click", (event) => {
  const heading = event.target.closest("th");
  if (!heading || !event.target.closest("button")) return;
  const falls = heading.getAttribute("aria-sort") === "descending";
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", falls ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows];
  const place = heading.cellIndex;
  rows.sort((a, b) => (falls ? 1 : -1) * compare(value(a, place), value(b, place)));
  table.tBodies[0].append(...rows);
  document.getElementById("exploratory").hidden = !heading.hasAttribute("data-test");
});
