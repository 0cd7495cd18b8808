import { defineConfig } from "vite";

// The page is built into the Python package, from which `onnxzoo web` writes sites: names without hashes, as the service
// worker knows each file by its own.
export default defineConfig({
  root: "page",
  base: "./",
  build: {
    outDir: "../../../onnxzoo/deploy/page",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    rolldownOptions: {
      input: { page: "page/index.html", service_worker: "page/service_worker.ts" },
      output: { entryFileNames: "[name].js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" },
    },
  },
  worker: {
    format: "es",
    rolldownOptions: { output: { entryFileNames: "[name].js" } },
  },
});
