// Sets what the API reference at /docs shows, and that it sends requests only to this bridge.
"use strict";
Scalar.createApiReference("#reference", {
  url: "/openapi.json",
  // Requests and code samples go to the address from which this page was loaded.
  servers: [{ url: window.location.origin }],
  agent: { disabled: true },
  mcp: { disabled: true },
  telemetry: false,
  withDefaultFonts: false,
  showDeveloperTools: "never",
  hideClientButton: true,
  persistAuth: false,
  defaultHttpClient: { targetKey: "shell", clientKey: "curl" },
  authentication: { preferredSecurityScheme: "apiKey" },
});
