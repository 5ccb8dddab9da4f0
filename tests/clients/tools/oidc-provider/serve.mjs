// An OpenID Connect provider that gives jobs an identity: client credentials, JWT, one audience.
import Provider from "oidc-provider";

const [port, audience] = process.argv.slice(2);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "job-7",
      client_secret: "of-the-job",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    },
  ],
  extraTokenClaims: () => ({ team: "web" }),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      getResourceServerInfo: () => ({
        accessTokenFormat: "jwt",
        accessTokenTTL: 300,
        audience,
        scope: "",
      }),
    },
  },
});
provider.listen(Number(port), "127.0.0.1");
