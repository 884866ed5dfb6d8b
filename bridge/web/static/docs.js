// What the reference shows, and that it asks nobody but this bridge.
"use strict";
Scalar.createApiReference("#reference", {
  url: "/openapi.json",
  // Requests and samples go to the address under which this page was asked for.
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
