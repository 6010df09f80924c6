/** The page starts here: styles, the token that came along, and the shell. */
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/parts.css";
import "./styles/controls.css";
import "./styles/tables.css";
import "./styles/pages.css";
import { render } from "preact";
import { enter } from "./api";
import { App } from "./shell";

const root = document.getElementById("app");
if (root === null) throw new Error("index.html has no #app");
render(<App entering={enter()} />, root);
