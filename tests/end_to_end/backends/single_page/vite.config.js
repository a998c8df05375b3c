import { compression } from "vite-plugin-compression2";

// Small files are compressed too, for this one has no other.
export default {
  plugins: [compression({ algorithms: ["gzip", "brotliCompress"], threshold: 0 })],
};
