"""Every URL on one screen: method, path, handler, permission, and how the audit log keeps it."""

from __future__ import annotations

from bonded.server.core.audit import Kind
from bonded.server.core.iam import Permission
from bonded.server.web.files import FilesApi
from bonded.server.web.health import Health
from bonded.server.web.oauth.authorize import Authorize
from bonded.server.web.oauth.devices import Devices
from bonded.server.web.oauth.discovery import Discovery
from bonded.server.web.oauth.exchange import TokenExchange
from bonded.server.web.oauth.publishing import PublishingTokens
from bonded.server.web.oauth.status import TokenStatus
from bonded.server.web.oauth.token import TokenEndpoint
from bonded.server.web.routing import Endpoint, Open, RouteTable
from bonded.server.web.simple import SimpleApi
from bonded.server.web.ui.account import Account
from bonded.server.web.ui.invitations import Invitations
from bonded.server.web.ui.sign_in import SignIn
from bonded.server.web.ui.static import Static
from bonded.server.web.uploads import UploadApi
from bonded.server.web.v1.accounts import AccountsApi
from bonded.server.web.v1.caches import CachesApi
from bonded.server.web.v1.credentials import CredentialsApi
from bonded.server.web.v1.curation import CurationApi
from bonded.server.web.v1.entries import EntriesApi, resources_named
from bonded.server.web.v1.groups import GroupsApi
from bonded.server.web.v1.packages import PackagesApi
from bonded.server.web.v1.policies import PoliciesApi
from bonded.server.web.v1.pools import PoolsApi
from bonded.server.web.v1.projects import ProjectsApi
from bonded.server.web.v1.publishers import PublishersApi
from bonded.server.web.v1.repositories import RepositoriesApi
from bonded.server.web.v1.roles import RolesApi
from bonded.server.web.v1.users import UsersApi

P = Permission
K = Kind

# The names of methods in the audit log, which are Google's.
AR = "google.devtools.artifactregistry.v1.ArtifactRegistry"
IAM = "google.iam.admin.v1"
POOLS = "google.iam.v1.WorkloadIdentityPools"
LOG = "google.logging.v2.LoggingServiceV2"
RM = "google.cloud.resourcemanager.v1.Projects"
STS = "google.identity.sts.v1.SecurityTokenService"

PROJECT = "/v1/projects/{project}"
LOCATION = "/v1/projects/{project}/locations/{location}"
REPOSITORY = "/v1/projects/{project}/locations/{location}/repositories/{repository}"
PACKAGE = "/v1/projects/{project}/locations/{location}/repositories/{repository}/packages/{package}"
ACCOUNT = "/v1/projects/{project}/serviceAccounts/{account}"
POOL = "/v1/projects/{project}/locations/global/workloadIdentityPools/{pool}"
PROVIDER = (
    "/v1/projects/{project}/locations/global/workloadIdentityPools/{pool}/providers/{provider}"
)
OIDC = "/_/oidc"
GROUP = "/v1/groups/{group}"
USER = "/v1/users/{user}"
ORGANIZATION = "/v1/organizations/bonded"


def route_table(
    *,
    health: Health,
    simple: SimpleApi,
    files: FilesApi,
    uploads: UploadApi,
    tokens: TokenEndpoint,
    exchange: TokenExchange,
    publishing: PublishingTokens,
    status: TokenStatus,
    discovery: Discovery,
    projects: ProjectsApi,
    repositories: RepositoriesApi,
    packages: PackagesApi,
    curation: CurationApi,
    caches: CachesApi,
    policies: PoliciesApi,
    roles: RolesApi,
    groups: GroupsApi,
    accounts: AccountsApi,
    credentials: CredentialsApi,
    entries: EntriesApi,
    pools: PoolsApi,
    publishers: PublishersApi,
    users: UsersApi,
    authorize: Authorize,
    devices: Devices,
    sign_in: SignIn,
    invitations: Invitations,
    account: Account,
    static: Static,
) -> RouteTable:
    """Return the table that decides every request."""
    # fmt: off
    table = RouteTable(
        (
            Endpoint("GET", "/healthz", health.alive, Open.HEALTH, K.NOTHING, "Bonded.Alive"),
            Endpoint("GET", "/readyz", health.ready, Open.HEALTH, K.NOTHING, "Bonded.Ready"),
            Endpoint("POST", "/token", tokens.exchange, Open.SIGN_IN, K.SIGN_IN, f"{STS}.ExchangeAssertion"),
            Endpoint("POST", "/v1/token", exchange.exchange, Open.SIGN_IN, K.SIGN_IN, f"{STS}.ExchangeToken"),
            # Trusted publishing, at the root of the host as its clients have it.
            Endpoint("GET", f"{OIDC}/audience", publishing.show_audience, Open.DISCOVERY, K.NOTHING, "Bonded.ShowAudience"),
            Endpoint("POST", f"{OIDC}/mint-token", publishing.mint, Open.SIGN_IN, K.SIGN_IN, "Bonded.MintToken"),
            Endpoint("POST", f"{OIDC}/burn-token", publishing.burn, Open.SIGN_IN, K.ACT, "Bonded.BurnToken"),
            Endpoint("POST", "/v1/introspect", status.introspect, Open.HOLDER, K.NOTHING, f"{STS}.IntrospectToken"),
            Endpoint("POST", "/v1/tokens:limit", status.limit, Open.SOMEBODY, K.SIGN_IN, f"{STS}.LimitToken"),
            Endpoint("POST", "/revoke", status.revoke, Open.HOLDER, K.ACT, f"{STS}.RevokeToken"),
            Endpoint("POST", "/v1/oauthtoken", tokens.exchange, Open.SIGN_IN, K.SIGN_IN, f"{STS}.ExchangeOauthToken"),
            Endpoint("GET", "/authorize", authorize.show, Open.SIGN_IN, K.NOTHING, "Bonded.Authorize"),
            Endpoint("POST", "/authorize", authorize.answer, Open.SIGN_IN, K.ACT, "Bonded.Authorize"),
            Endpoint("POST", "/device_authorization", devices.start, Open.SIGN_IN, K.SIGN_IN, "Bonded.StartDevice"),
            Endpoint("GET", "/device", devices.show, Open.SIGN_IN, K.NOTHING, "Bonded.ShowDevice"),
            Endpoint("POST", "/device", devices.answer, Open.SIGN_IN, K.ACT, "Bonded.AnswerDevice"),
            Endpoint("GET", "/.well-known/jwks.json", discovery.list_keys, Open.DISCOVERY, K.NOTHING, "Bonded.ListKeys"),
            Endpoint("GET", "/.well-known/openid-configuration", discovery.describe, Open.DISCOVERY, K.NOTHING, "Bonded.Describe"),
            Endpoint("GET", "/.well-known/oauth-authorization-server", discovery.describe, Open.DISCOVERY, K.NOTHING, "Bonded.Describe"),
            # Pages for people. Below /_/, which no project can be named.
            Endpoint("GET", "/sign-in", sign_in.show, Open.SIGN_IN, K.NOTHING, "Bonded.ShowSignIn"),
            Endpoint("POST", "/sign-in", sign_in.submit, Open.SIGN_IN, K.SIGN_IN, "Bonded.SignIn"),
            Endpoint("POST", "/sign-out", sign_in.leave, Open.SIGN_IN, K.ACT, "Bonded.SignOut"),
            Endpoint("POST", "/_/second-factor", sign_in.submit_factor, Open.SIGN_IN, K.SIGN_IN, "Bonded.SignIn"),
            Endpoint("GET", "/_/provider", sign_in.ask_provider, Open.SIGN_IN, K.NOTHING, "Bonded.AskProvider"),
            Endpoint("GET", "/_/provider/callback", sign_in.hear_provider, Open.SIGN_IN, K.SIGN_IN, "Bonded.SignIn"),
            Endpoint("GET", "/_/invitation", invitations.show, Open.SIGN_IN, K.NOTHING, "Bonded.ShowInvitation"),
            Endpoint("POST", "/_/invitation", invitations.submit, Open.SIGN_IN, K.ACT, "Bonded.AcceptInvitation"),
            Endpoint("GET", "/account", account.show, Open.COOKIE, K.NOTHING, "Bonded.ShowAccount"),
            Endpoint("POST", "/_/account/password", account.change_password, Open.COOKIE, K.ACT, "Bonded.ChangePassword"),
            Endpoint("POST", "/_/account/sessions", account.end_session, Open.COOKIE, K.ACT, "Bonded.EndSession"),
            Endpoint("GET", "/_/account/second-factor", account.show_enrolment, Open.COOKIE, K.NOTHING, "Bonded.ShowEnrolment"),
            Endpoint("POST", "/_/account/second-factor", account.enrol, Open.COOKIE, K.ACT, "Bonded.AddSecondFactor"),
            Endpoint("POST", "/_/account/second-factor/remove", account.remove_factor, Open.COOKIE, K.ACT, "Bonded.RemoveSecondFactor"),
            Endpoint("GET", "/_/static/{name}", static.show, Open.STATIC, K.NOTHING, "Bonded.ShowStatic"),
            # The data plane: what installers and uploaders ask for.
            Endpoint("GET", "/{project}/{repository}/simple/", simple.list_packages, P.REPOSITORY_DOWNLOAD, K.READ, "Python-ListPackages"),
            Endpoint("GET", "/{project}/{repository}/simple", simple.add_slash, P.REPOSITORY_DOWNLOAD, K.READ, "Python-ListPackages"),
            Endpoint("GET", "/{project}/{repository}/simple/{package}/", simple.show_package, P.REPOSITORY_DOWNLOAD, K.READ, "Python-PackageVersions"),
            Endpoint("GET", "/{project}/{repository}/{package}/{filename}", files.download, P.REPOSITORY_DOWNLOAD, K.DOWNLOAD, "Python-InstallPackage"),
            Endpoint("GET", "/{project}/{repository}/", simple.show_repository, P.REPOSITORY_DOWNLOAD, K.READ, "Python-ShowRepository"),
            Endpoint("POST", "/{project}/{repository}/", uploads.publish, P.REPOSITORY_UPLOAD, K.WRITE, "Python-UploadPackage", is_package_in_body=True),
            Endpoint("POST", "/{project}/{repository}", uploads.publish, P.REPOSITORY_UPLOAD, K.WRITE, "Python-UploadPackage", is_package_in_body=True),
            # The two addresses that people upload to by mistake (gar.md §1.1).
            Endpoint("POST", "/{project}/{repository}/simple/", uploads.publish, P.REPOSITORY_UPLOAD, K.WRITE, "Python-UploadPackage", is_package_in_body=True),
            Endpoint("POST", "/{project}/{repository}/simple", uploads.publish, P.REPOSITORY_UPLOAD, K.WRITE, "Python-UploadPackage", is_package_in_body=True),
            Endpoint("POST", "/{project}/{repository}/legacy/", uploads.publish, P.REPOSITORY_UPLOAD, K.WRITE, "Python-UploadPackage", is_package_in_body=True),
            Endpoint("POST", "/{project}/{repository}/legacy", uploads.publish, P.REPOSITORY_UPLOAD, K.WRITE, "Python-UploadPackage", is_package_in_body=True),
            # Resource Manager: projects, and policies on them and on the server.
            Endpoint("POST", "/v1/projects", projects.create, P.PROJECT_CREATE, K.ACT, f"{RM}.CreateProject"),
            Endpoint("GET", "/v1/projects", projects.list, P.PROJECT_LIST, K.READ, f"{RM}.ListProjects"),
            Endpoint("GET", PROJECT, projects.get, P.PROJECT_GET, K.READ, f"{RM}.GetProject"),
            Endpoint("DELETE", PROJECT, projects.delete, P.PROJECT_DELETE, K.ACT, f"{RM}.DeleteProject"),
            Endpoint("GET", f"{PROJECT}:getIamPolicy", policies.get, P.PROJECT_GET_POLICY, K.READ, f"{RM}.GetIamPolicy"),
            Endpoint("POST", f"{PROJECT}:getIamPolicy", policies.get, P.PROJECT_GET_POLICY, K.READ, f"{RM}.GetIamPolicy"),
            Endpoint("POST", f"{PROJECT}:setIamPolicy", policies.set, P.PROJECT_SET_POLICY, K.ACT, f"{RM}.SetIamPolicy"),
            Endpoint("POST", f"{PROJECT}:testIamPermissions", policies.test, Open.ABOUT_SELF, K.NOTHING, f"{RM}.TestIamPermissions"),
            Endpoint("GET", f"{ORGANIZATION}:getIamPolicy", policies.get, P.ORGANIZATION_GET_POLICY, K.READ, f"{RM}.GetIamPolicy"),
            Endpoint("POST", f"{ORGANIZATION}:getIamPolicy", policies.get, P.ORGANIZATION_GET_POLICY, K.READ, f"{RM}.GetIamPolicy"),
            Endpoint("POST", f"{ORGANIZATION}:setIamPolicy", policies.set, P.ORGANIZATION_SET_POLICY, K.ACT, f"{RM}.SetIamPolicy"),
            Endpoint("POST", f"{ORGANIZATION}:testIamPermissions", policies.test, Open.ABOUT_SELF, K.NOTHING, f"{RM}.TestIamPermissions"),
            # People: their own part first, then what needs a permission.
            Endpoint("GET", "/v1/users/me", users.get_self, Open.SELF, K.READ, "Bonded.GetUser"),
            Endpoint("GET", "/v1/users/me/sessions", users.list_own_sessions, Open.SELF, K.READ, "Bonded.ListSessions"),
            Endpoint("DELETE", "/v1/users/me/sessions/{session}", users.end_own_session, Open.SELF, K.ACT, "Bonded.EndSession"),
            Endpoint("POST", "/v1/users", users.create, P.USER_CREATE, K.ACT, "Bonded.CreateUser"),
            Endpoint("GET", "/v1/users", users.list, P.USER_LIST, K.READ, "Bonded.ListUsers"),
            Endpoint("GET", USER, users.get, P.USER_GET, K.READ, "Bonded.GetUser"),
            Endpoint("DELETE", USER, users.delete, P.USER_DELETE, K.ACT, "Bonded.DeleteUser"),
            Endpoint("POST", f"{USER}:disable", users.disable, P.USER_UPDATE, K.ACT, "Bonded.DisableUser"),
            Endpoint("POST", f"{USER}:enable", users.enable, P.USER_UPDATE, K.ACT, "Bonded.EnableUser"),
            Endpoint("POST", f"{USER}:invite", users.invite, P.USER_UPDATE, K.ACT, "Bonded.InviteUser"),
            Endpoint("POST", f"{USER}:forgetSecondFactor", users.forget_factor, P.USER_UPDATE, K.ACT, "Bonded.RemoveSecondFactor"),
            Endpoint("GET", f"{USER}/sessions", users.list_sessions, P.SESSION_LIST, K.READ, "Bonded.ListSessions"),
            Endpoint("DELETE", f"{USER}/sessions/{{session}}", users.end_session, P.SESSION_DELETE, K.ACT, "Bonded.EndSession"),
            # Artifact Registry.
            Endpoint("GET", f"{PROJECT}/locations", repositories.list_locations, P.LOCATION_LIST, K.READ, "google.cloud.location.Locations.ListLocations"),
            Endpoint("GET", LOCATION, repositories.get_location, P.LOCATION_GET, K.READ, "google.cloud.location.Locations.GetLocation"),
            Endpoint("POST", f"{LOCATION}/repositories", repositories.create, P.REPOSITORY_CREATE, K.ACT, f"{AR}.CreateRepository"),
            Endpoint("GET", f"{LOCATION}/repositories", repositories.list, P.REPOSITORY_LIST, K.READ, f"{AR}.ListRepositories"),
            Endpoint("GET", REPOSITORY, repositories.get, P.REPOSITORY_GET, K.READ, f"{AR}.GetRepository"),
            Endpoint("PATCH", REPOSITORY, repositories.update, P.REPOSITORY_UPDATE, K.ACT, f"{AR}.UpdateRepository"),
            Endpoint("POST", f"{REPOSITORY}:refresh", caches.refresh, P.REPOSITORY_UPDATE, K.ACT, "Bonded.RefreshRepository"),
            Endpoint("POST", f"{REPOSITORY}/packages/{{package}}:refresh", caches.refresh, P.REPOSITORY_UPDATE, K.ACT, "Bonded.RefreshPackage"),
            Endpoint("DELETE", REPOSITORY, repositories.delete, P.REPOSITORY_DELETE, K.ACT, f"{AR}.DeleteRepository"),
            Endpoint("GET", f"{REPOSITORY}:getIamPolicy", policies.get, P.REPOSITORY_GET_POLICY, K.READ, f"{AR}.GetIamPolicy"),
            Endpoint("POST", f"{REPOSITORY}:getIamPolicy", policies.get, P.REPOSITORY_GET_POLICY, K.READ, f"{AR}.GetIamPolicy"),
            Endpoint("POST", f"{REPOSITORY}:setIamPolicy", policies.set, P.REPOSITORY_SET_POLICY, K.ACT, f"{AR}.SetIamPolicy"),
            Endpoint("POST", f"{REPOSITORY}:testIamPermissions", policies.test, Open.ABOUT_SELF, K.NOTHING, f"{AR}.TestIamPermissions"),
            # IAM: roles, on the server and on projects, and why somebody may not.
            Endpoint("GET", "/v1/roles", roles.list_predefined, Open.DISCOVERY, K.NOTHING, f"{IAM}.ListRoles"),
            Endpoint("GET", "/v1/roles/{role}", roles.get_predefined, Open.DISCOVERY, K.NOTHING, f"{IAM}.GetRole"),
            Endpoint("POST", f"{PROJECT}/roles", roles.create, P.ROLE_CREATE, K.ACT, f"{IAM}.CreateRole"),
            Endpoint("GET", f"{PROJECT}/roles", roles.list, P.ROLE_LIST, K.READ, f"{IAM}.ListRoles"),
            Endpoint("GET", f"{PROJECT}/roles/{{role}}", roles.get, P.ROLE_GET, K.READ, f"{IAM}.GetRole"),
            Endpoint("PATCH", f"{PROJECT}/roles/{{role}}", roles.update, P.ROLE_UPDATE, K.ACT, f"{IAM}.UpdateRole"),
            Endpoint("DELETE", f"{PROJECT}/roles/{{role}}", roles.delete, P.ROLE_DELETE, K.ACT, f"{IAM}.DeleteRole"),
            Endpoint("POST", f"{PROJECT}/roles/{{role}}:undelete", roles.undelete, P.ROLE_UNDELETE, K.ACT, f"{IAM}.UndeleteRole"),
            Endpoint("POST", f"{ORGANIZATION}/roles", roles.create, P.ROLE_CREATE, K.ACT, f"{IAM}.CreateRole"),
            Endpoint("GET", f"{ORGANIZATION}/roles", roles.list, P.ROLE_LIST, K.READ, f"{IAM}.ListRoles"),
            Endpoint("GET", f"{ORGANIZATION}/roles/{{role}}", roles.get, P.ROLE_GET, K.READ, f"{IAM}.GetRole"),
            Endpoint("PATCH", f"{ORGANIZATION}/roles/{{role}}", roles.update, P.ROLE_UPDATE, K.ACT, f"{IAM}.UpdateRole"),
            Endpoint("DELETE", f"{ORGANIZATION}/roles/{{role}}", roles.delete, P.ROLE_DELETE, K.ACT, f"{IAM}.DeleteRole"),
            Endpoint("POST", f"{ORGANIZATION}/roles/{{role}}:undelete", roles.undelete, P.ROLE_UNDELETE, K.ACT, f"{IAM}.UndeleteRole"),
            Endpoint("POST", f"{ORGANIZATION}:troubleshootIamPolicy", policies.troubleshoot, P.POLICY_TROUBLESHOOT, K.READ, "bonded.v1.Policies.Troubleshoot"),
            Endpoint("POST", f"{PROJECT}:troubleshootIamPolicy", policies.troubleshoot, P.POLICY_TROUBLESHOOT, K.READ, "bonded.v1.Policies.Troubleshoot"),
            Endpoint("POST", f"{ACCOUNT}:troubleshootIamPolicy", policies.troubleshoot, P.POLICY_TROUBLESHOOT, K.READ, "bonded.v1.Policies.Troubleshoot"),
            Endpoint("POST", f"{REPOSITORY}:troubleshootIamPolicy", policies.troubleshoot, P.POLICY_TROUBLESHOOT, K.READ, "bonded.v1.Policies.Troubleshoot"),
            # Groups: the resource is the group, on which its owners have a role.
            Endpoint("POST", "/v1/groups", groups.create, P.GROUP_CREATE, K.ACT, "bonded.v1.Groups.CreateGroup"),
            Endpoint("GET", "/v1/groups", groups.list, P.GROUP_LIST, K.READ, "bonded.v1.Groups.ListGroups"),
            Endpoint("GET", GROUP, groups.get, P.GROUP_GET, K.READ, "bonded.v1.Groups.GetGroup"),
            Endpoint("DELETE", GROUP, groups.delete, P.GROUP_DELETE, K.ACT, "bonded.v1.Groups.DeleteGroup"),
            Endpoint("GET", f"{GROUP}/members", groups.list_members, P.GROUP_GET, K.READ, "bonded.v1.Groups.ListMembers"),
            Endpoint("POST", f"{GROUP}/members", groups.put_member, P.GROUP_UPDATE, K.ACT, "bonded.v1.Groups.PutMember"),
            Endpoint("DELETE", f"{GROUP}/members/{{member}}", groups.remove_member, P.GROUP_UPDATE, K.ACT, "bonded.v1.Groups.RemoveMember"),
            # Logging: the audit log, of the server or of one project.
            Endpoint("POST", "/v2/entries:list", entries.list, P.LOG_LIST, K.READ, f"{LOG}.ListLogEntries", resources_in_body=resources_named),
            Endpoint("POST", "/v2/projects/{project}/entries:list", entries.list, P.LOG_LIST, K.READ, f"{LOG}.ListLogEntries"),
            Endpoint("POST", "/v2/entries:verify", entries.verify, P.LOG_LIST, K.READ, "bonded.logging.v1.Logging.VerifyEntries"),
            Endpoint("GET", f"{REPOSITORY}/packages", packages.list_packages, P.PACKAGE_LIST, K.READ, f"{AR}.ListPackages"),
            Endpoint("GET", PACKAGE, packages.get_package, P.PACKAGE_GET, K.READ, f"{AR}.GetPackage"),
            Endpoint("GET", f"{PACKAGE}:explain", packages.explain_package, P.PACKAGE_GET, K.READ, "Bonded.ExplainPackage"),
            Endpoint("GET", f"{PACKAGE}:listUpstreamFiles", caches.list_upstream_files, P.FILE_LIST, K.READ, "Bonded.ListUpstreamFiles"),
            Endpoint("GET", f"{PACKAGE}/versions", packages.list_versions, P.VERSION_LIST, K.READ, f"{AR}.ListVersions"),
            Endpoint("GET", f"{PACKAGE}/versions/{{version}}", packages.get_version, P.VERSION_GET, K.READ, f"{AR}.GetVersion"),
            Endpoint("GET", f"{REPOSITORY}/files", packages.list_files, P.FILE_LIST, K.READ, f"{AR}.ListFiles", is_package_in_body=True),
            Endpoint("GET", f"{REPOSITORY}/files/{{file}}", packages.get_file, P.FILE_GET, K.READ, f"{AR}.GetFile"),
            Endpoint("DELETE", PACKAGE, curation.delete, P.PACKAGE_DELETE, K.WRITE, f"{AR}.DeletePackage"),
            Endpoint("POST", f"{PACKAGE}:undelete", curation.undelete, P.PACKAGE_UNDELETE, K.WRITE, "Bonded.UndeletePackage"),
            Endpoint("DELETE", f"{PACKAGE}/versions/{{version}}", curation.delete, P.VERSION_DELETE, K.WRITE, f"{AR}.DeleteVersion"),
            Endpoint("POST", f"{PACKAGE}/versions/{{version}}:undelete", curation.undelete, P.VERSION_UNDELETE, K.WRITE, "Bonded.UndeleteVersion"),
            Endpoint("DELETE", f"{REPOSITORY}/files/{{file}}", curation.delete, P.FILE_DELETE, K.WRITE, f"{AR}.DeleteFile"),
            Endpoint("POST", f"{REPOSITORY}/files/{{file}}:undelete", curation.undelete, P.FILE_UNDELETE, K.WRITE, "Bonded.UndeleteFile"),
            Endpoint("POST", f"{PACKAGE}/versions/{{version}}:yank", curation.yank, P.VERSION_YANK, K.WRITE, "Bonded.YankVersion"),
            Endpoint("POST", f"{PACKAGE}/versions/{{version}}:unyank", curation.unyank, P.VERSION_YANK, K.WRITE, "Bonded.UnyankVersion"),
            Endpoint("POST", f"{REPOSITORY}/files/{{file}}:yank", curation.yank, P.FILE_YANK, K.WRITE, "Bonded.YankFile"),
            Endpoint("POST", f"{REPOSITORY}/files/{{file}}:unyank", curation.unyank, P.FILE_YANK, K.WRITE, "Bonded.UnyankFile"),
            Endpoint("GET", f"{REPOSITORY}/pythonPackages", packages.list_python_packages, P.PYTHON_PACKAGE_LIST, K.READ, f"{AR}.ListPythonPackages"),
            Endpoint("GET", f"{REPOSITORY}/pythonPackages/{{release}}", packages.get_python_package, P.PYTHON_PACKAGE_GET, K.READ, f"{AR}.GetPythonPackage"),
            # IAM: service accounts and keys.
            Endpoint("POST", f"{PROJECT}/serviceAccounts", accounts.create, P.ACCOUNT_CREATE, K.ACT, f"{IAM}.CreateServiceAccount"),
            Endpoint("GET", f"{PROJECT}/serviceAccounts", accounts.list, P.ACCOUNT_LIST, K.READ, f"{IAM}.ListServiceAccounts"),
            Endpoint("GET", ACCOUNT, accounts.get, P.ACCOUNT_GET, K.READ, f"{IAM}.GetServiceAccount"),
            Endpoint("PATCH", ACCOUNT, accounts.update, P.ACCOUNT_UPDATE, K.ACT, f"{IAM}.PatchServiceAccount"),
            Endpoint("POST", f"{ACCOUNT}:disable", accounts.disable, P.ACCOUNT_DISABLE, K.ACT, f"{IAM}.DisableServiceAccount"),
            Endpoint("POST", f"{ACCOUNT}:enable", accounts.enable, P.ACCOUNT_ENABLE, K.ACT, f"{IAM}.EnableServiceAccount"),
            Endpoint("GET", f"{ACCOUNT}:getIamPolicy", policies.get, P.ACCOUNT_GET_POLICY, K.READ, f"{IAM}.GetIAMPolicy"),
            Endpoint("POST", f"{ACCOUNT}:getIamPolicy", policies.get, P.ACCOUNT_GET_POLICY, K.READ, f"{IAM}.GetIAMPolicy"),
            Endpoint("POST", f"{ACCOUNT}:setIamPolicy", policies.set, P.ACCOUNT_SET_POLICY, K.ACT, f"{IAM}.SetIAMPolicy"),
            Endpoint("POST", f"{ACCOUNT}:generateAccessToken", credentials.generate_access_token, P.ACCOUNT_GET_ACCESS_TOKEN, K.SIGN_IN, "GenerateAccessToken"),
            Endpoint("POST", f"{ACCOUNT}:generateIdToken", credentials.generate_id_token, P.ACCOUNT_GET_ID_TOKEN, K.SIGN_IN, "GenerateIdToken"),
            Endpoint("POST", f"{ACCOUNT}:signJwt", credentials.refuse_to_sign, P.ACCOUNT_GET_ACCESS_TOKEN, K.READ, "SignJwt"),
            Endpoint("POST", f"{ACCOUNT}:signBlob", credentials.refuse_to_sign, P.ACCOUNT_GET_ACCESS_TOKEN, K.READ, "SignBlob"),
            Endpoint("DELETE", ACCOUNT, accounts.delete, P.ACCOUNT_DELETE, K.ACT, f"{IAM}.DeleteServiceAccount"),
            Endpoint("POST", f"{ACCOUNT}:testIamPermissions", policies.test, Open.ABOUT_SELF, K.NOTHING, f"{IAM}.TestIamPermissions"),
            Endpoint("POST", f"{ACCOUNT}/keys", accounts.create_key, P.KEY_CREATE, K.ACT, f"{IAM}.CreateServiceAccountKey"),
            Endpoint("POST", f"{ACCOUNT}/keys:upload", accounts.upload_key, P.KEY_CREATE, K.ACT, f"{IAM}.UploadServiceAccountKey"),
            Endpoint("GET", f"{ACCOUNT}/keys/{{key}}", accounts.get_key, P.KEY_GET, K.READ, f"{IAM}.GetServiceAccountKey"),
            Endpoint("POST", f"{ACCOUNT}/keys/{{key}}:disable", accounts.disable_key, P.KEY_DISABLE, K.ACT, f"{IAM}.DisableServiceAccountKey"),
            Endpoint("POST", f"{ACCOUNT}/keys/{{key}}:enable", accounts.enable_key, P.KEY_ENABLE, K.ACT, f"{IAM}.EnableServiceAccountKey"),
            Endpoint("GET", f"{ACCOUNT}/keys", accounts.list_keys, P.KEY_LIST, K.READ, f"{IAM}.ListServiceAccountKeys"),
            Endpoint("DELETE", f"{ACCOUNT}/keys/{{key}}", accounts.delete_key, P.KEY_DELETE, K.ACT, f"{IAM}.DeleteServiceAccountKey"),
            # IAM: workload identity pools and their providers.
            Endpoint("POST", f"{PROJECT}/locations/global/workloadIdentityPools", pools.create, P.POOL_CREATE, K.ACT, f"{POOLS}.CreateWorkloadIdentityPool"),
            Endpoint("GET", f"{PROJECT}/locations/global/workloadIdentityPools", pools.list, P.POOL_LIST, K.READ, f"{POOLS}.ListWorkloadIdentityPools"),
            Endpoint("GET", POOL, pools.get, P.POOL_GET, K.READ, f"{POOLS}.GetWorkloadIdentityPool"),
            Endpoint("PATCH", POOL, pools.update, P.POOL_UPDATE, K.ACT, f"{POOLS}.UpdateWorkloadIdentityPool"),
            Endpoint("DELETE", POOL, pools.delete, P.POOL_DELETE, K.ACT, f"{POOLS}.DeleteWorkloadIdentityPool"),
            Endpoint("POST", f"{POOL}/providers", pools.create_provider, P.PROVIDER_CREATE, K.ACT, f"{POOLS}.CreateWorkloadIdentityPoolProvider"),
            Endpoint("GET", f"{POOL}/providers", pools.list_providers, P.PROVIDER_LIST, K.READ, f"{POOLS}.ListWorkloadIdentityPoolProviders"),
            Endpoint("GET", PROVIDER, pools.get_provider, P.PROVIDER_GET, K.READ, f"{POOLS}.GetWorkloadIdentityPoolProvider"),
            Endpoint("PATCH", PROVIDER, pools.update_provider, P.PROVIDER_UPDATE, K.ACT, f"{POOLS}.UpdateWorkloadIdentityPoolProvider"),
            Endpoint("DELETE", PROVIDER, pools.delete_provider, P.PROVIDER_DELETE, K.ACT, f"{POOLS}.DeleteWorkloadIdentityPoolProvider"),
            # Trusted publishers: a resource of ours.
            Endpoint("POST", f"{REPOSITORY}/trustedPublishers", publishers.create, P.TRUST_CREATE, K.ACT, f"{AR}.CreateTrustedPublisher"),
            Endpoint("GET", f"{REPOSITORY}/trustedPublishers", publishers.list, P.TRUST_LIST, K.READ, f"{AR}.ListTrustedPublishers"),
            Endpoint("GET", f"{REPOSITORY}/trustedPublishers/{{publisher}}", publishers.get, P.TRUST_GET, K.READ, f"{AR}.GetTrustedPublisher"),
            Endpoint("DELETE", f"{REPOSITORY}/trustedPublishers/{{publisher}}", publishers.delete, P.TRUST_DELETE, K.ACT, f"{AR}.DeleteTrustedPublisher"),
        )
    )
    # fmt: on
    # Whoever looks into the log for what no row is called is told so.
    entries.learn(table.endpoints)
    return table
