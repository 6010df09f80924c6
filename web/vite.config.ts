/**
 * The build must give files that any server can hand out under one strict policy: nothing inline, nothing from elsewhere,
 * a hash in each name, so that they may be kept forever.
 */
import { defineConfig } from "vite";

// Where `npm run dev` finds a running server; the paths are those of the server itself.
const server = "http://127.0.0.1:8080";

export default defineConfig({
  base: "./",
  build: {
    outDir: "../src/rspp/server/web",
    emptyOutDir: true,
    // A worklet or picture as a data address would be refused by the policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    // The first versions that know light-dark(), by which each colour says both of its looks.
    cssTarget: ["chrome123", "edge123", "firefox120", "safari17.5"],
  },
  server: {
    port: 5173,
    proxy: {
      "/graphql": server,
      "/socket.io": { target: server, ws: true },
      "/v1": { target: server, ws: true },
    },
  },
});
