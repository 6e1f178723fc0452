/*
 * What stands of a table of nftables, as a number: asked of the kernel by netlink (linux/netfilter/nf_tables.h),
 * without a process and without rules as text.
 *
 *   request   nlmsghdr | nfgenmsg family, version, resource
 *   answers   nlmsghdr | nfgenmsg | attributes of one table, chain or rule, each with its table's name    (mixed in)
 *
 * A rule that is replaced has another handle, anonymous sets never change: what is the same here is the same. That
 * holds as long as no rule counts; `control/host/guard-rules.ts` writes none that does.
 */
#include "homeward.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel fills 32 KiB at a time at most. */
#define ANSWER_BYTES 65536
/* While somebody changes rules all the time. */
#define MAX_ATTEMPTS 16
#define SEED 0xcbf29ce484222325ull
#define PRIME 0x100000001b3ull
/* Another one than the errors of system calls: somebody has changed rules meanwhile. */
#define CHANGED 1

struct question {
  struct nlmsghdr header;
  struct nfgenmsg family;
};

/* FNV-1a, 64 bits. */
static uint64_t mixed(uint64_t hash, const uint8_t *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) hash = (hash ^ bytes[i]) * PRIME;
  return hash;
}

static int ask(int fd, int type, int family, int flags) {
  struct question question = {
      .header = {.nlmsg_len = sizeof question,
                 .nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type),
                 .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)},
      .family = {.nfgen_family = (uint8_t)family, .version = NFNETLINK_V0},
  };
  last_step = "send to nf_tables";
  return send(fd, &question, sizeof question, 0) < 0 ? -errno : 0;
}

/* The attribute of a type, or NULL. */
static const struct nlattr *attribute(const uint8_t *bytes, size_t length, int type) {
  while (length >= sizeof(struct nlattr)) {
    const struct nlattr *found = (const struct nlattr *)bytes;
    if (found->nla_len < sizeof *found || found->nla_len > length) return NULL;
    if ((found->nla_type & NLA_TYPE_MASK) == type) return found;
    size_t step = NLA_ALIGN(found->nla_len);
    if (step >= length) return NULL;
    bytes += step;
    length -= step;
  }
  return NULL;
}

/* The generation of all rules of the namespace: each change, whoever makes it, adds one. */
static int generation(int fd, uint8_t *buffer, uint32_t *value) {
  int result = ask(fd, NFT_MSG_GETGEN, AF_UNSPEC, 0);
  if (result < 0) return result;
  last_step = "recv from nf_tables";
  ssize_t length = recv(fd, buffer, ANSWER_BYTES, 0);
  if (length < 0) return -errno;
  const struct nlmsghdr *header = (const struct nlmsghdr *)buffer;
  if (!NLMSG_OK(header, length)) return -EBADMSG;
  if (header->nlmsg_type == NLMSG_ERROR) return ((const struct nlmsgerr *)NLMSG_DATA(header))->error;
  if (header->nlmsg_len < NLMSG_LENGTH(sizeof(struct nfgenmsg))) return -EBADMSG;
  const uint8_t *attributes = (const uint8_t *)NLMSG_DATA(header) + NLMSG_ALIGN(sizeof(struct nfgenmsg));
  size_t bytes = header->nlmsg_len - NLMSG_LENGTH(sizeof(struct nfgenmsg));
  const struct nlattr *id = attribute(attributes, bytes, NFTA_GEN_ID);
  if (id == NULL || id->nla_len < NLA_HDRLEN + 4) return -EBADMSG;
  uint32_t network_order;
  memcpy(&network_order, (const uint8_t *)id + NLA_HDRLEN, 4);
  *value = __builtin_bswap32(network_order);
  return 0;
}

/* Mixes in everything of one kind that belongs to the table. The name of its table is attribute 1 of each kind. */
static int dump(int fd, uint8_t *buffer, int type, int family, const char *table, uint64_t *hash) {
  _Static_assert(NFTA_TABLE_NAME == 1 && NFTA_CHAIN_TABLE == 1 && NFTA_RULE_TABLE == 1, "attribute of the table");
  size_t name_bytes = strlen(table) + 1;
  int result = ask(fd, type, family, NLM_F_DUMP);
  if (result < 0) return result;
  for (;;) {
    last_step = "recv from nf_tables";
    ssize_t length = recv(fd, buffer, ANSWER_BYTES, MSG_TRUNC);
    if (length < 0) return -errno;
    if (length > ANSWER_BYTES) return -EMSGSIZE;
    int left = (int)length;
    for (const struct nlmsghdr *header = (const struct nlmsghdr *)buffer; NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_flags & NLM_F_DUMP_INTR) result = CHANGED;
      if (header->nlmsg_type == NLMSG_DONE) return result;
      if (header->nlmsg_type == NLMSG_ERROR) return ((const struct nlmsgerr *)NLMSG_DATA(header))->error;
      if (header->nlmsg_len < NLMSG_LENGTH(sizeof(struct nfgenmsg))) return -EBADMSG;
      /* Not nfgenmsg: its resource is the generation, which others' changes move, too. */
      const uint8_t *attributes = (const uint8_t *)NLMSG_DATA(header) + NLMSG_ALIGN(sizeof(struct nfgenmsg));
      size_t bytes = header->nlmsg_len - NLMSG_LENGTH(sizeof(struct nfgenmsg));
      const struct nlattr *name = attribute(attributes, bytes, 1);
      if (name == NULL || name->nla_len != NLA_HDRLEN + name_bytes) continue;
      if (memcmp((const uint8_t *)name + NLA_HDRLEN, table, name_bytes) != 0) continue;
      *hash = mixed(mixed(*hash, (const uint8_t *)&type, sizeof type), attributes, bytes);
    }
  }
}

static int look(int fd, uint8_t *buffer, const char *table, uint32_t *value, uint64_t *hash) {
  static const int families[] = {NFPROTO_NETDEV, NFPROTO_INET, NFPROTO_ARP};
  static const int kinds[] = {NFT_MSG_GETTABLE, NFT_MSG_GETCHAIN, NFT_MSG_GETRULE};
  *hash = SEED;
  int result = generation(fd, buffer, value);
  for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
    *hash = mixed(*hash, (const uint8_t *)&families[f], sizeof families[f]);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds && result == 0; k++)
      result = dump(fd, buffer, kinds[k], families[f], table, hash);
  }
  uint32_t after = 0;
  if (result == 0) result = generation(fd, buffer, &after);
  return result == 0 && after != *value ? CHANGED : result;
}

int nft_state(const char *table, uint32_t *value, uint64_t *hash) {
  last_step = "socket of netfilter";
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  if (fd < 0) return -errno;
  static uint8_t buffer[ANSWER_BYTES] __attribute__((aligned(8)));
  int result = CHANGED;
  for (int attempt = 0; attempt < MAX_ATTEMPTS && result == CHANGED; attempt++)
    result = look(fd, buffer, table, value, hash);
  close(fd);
  last_step = "rules that others change all the time";
  return result == CHANGED ? -EAGAIN : result;
}
