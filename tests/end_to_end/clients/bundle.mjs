// A module with all that it imports, as one script for a page.
import { build } from "vite";

export async function bundle(entry) {
  const { output } = (
    await build({
      configFile: false,
      logLevel: "error",
      define: { "process.env.NODE_ENV": '"production"' },
      build: {
        write: false,
        minify: false,
        lib: { entry, formats: ["iife"], name: "bundle" },
      },
    })
  )[0];
  return output[0].code;
}
