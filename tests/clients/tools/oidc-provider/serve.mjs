// An OpenID Connect provider. Jobs get a JWT for one audience by client credentials; people sign in
// by name at its own pages. Its keys are made at each start, so starting it again rotates them.
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const [port, audience, redirectUri] = process.argv.slice(2);
const { privateKey } = await generateKeyPair("RS256", { extractable: true });
const key = { ...(await exportJWK(privateKey)), kid: `made-${Date.now()}`, use: "sig" };

// What a directory says of people: a colleague, a guest with an account of their own, and somebody
// whose address nobody has verified.
const people = {
  ada: { email_verified: true, hd: "example.com", realm_access: { roles: ["/Team", "admins"] } },
  guest: { email_verified: true, realm_access: { roles: ["/Team"] } },
  eve: { email_verified: false, hd: "example.com" },
};

const provider = new Provider(`http://127.0.0.1:${port}`, {
  claims: {
    openid: ["sub"],
    email: ["email", "email_verified"],
    profile: ["name"],
    roles: ["realm_access", "hd"],
  },
  clients: [
    {
      client_id: "job-7",
      client_secret: "of-the-job",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    },
    ...(redirectUri
      ? [
          {
            client_id: "bonded",
            client_secret: "of: the registry",
            redirect_uris: [redirectUri],
          },
        ]
      : []),
  ],
  extraTokenClaims: () => ({ team: "web" }),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: Boolean(redirectUri) },
    resourceIndicators: {
      enabled: true,
      defaultResource: (_context, client) => (client.clientId === "job-7" ? audience : undefined),
      getResourceServerInfo: () => ({
        accessTokenFormat: "jwt",
        accessTokenTTL: 300,
        audience,
        scope: "",
      }),
    },
  },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.com`, name: id.toUpperCase(), ...people[id] }),
  }),
  jwks: { keys: [key] },
  pkce: { required: () => true },
});
provider.listen(Number(port), "127.0.0.1");
