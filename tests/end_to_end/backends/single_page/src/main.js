// Makes its pages itself, from the path; hears events of its API, and loads a part of itself late.
import "./style.css";
import picture from "./picture.svg?no-inline";

const show = () => (document.querySelector("h1").textContent = location.pathname);

document.querySelector("a").addEventListener("click", (click) => {
  click.preventDefault();
  history.pushState(null, "", click.target.href);
  show();
});
addEventListener("popstate", show);
show();

document.querySelector("img").src = picture;
import("./late.js").then(({ late }) => (document.querySelector("#late").textContent = late));

const source = new EventSource("/api/events?n=3&gap_ms=50");
source.onmessage = ({ data }) => {
  const item = document.createElement("li");
  item.textContent = JSON.parse(data).n;
  document.querySelector("ol").append(item);
};
source.onerror = () => source.close();
