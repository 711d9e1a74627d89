/* A descriptor that is readable while it is raised: for poll, epoll and their kin. */
#ifndef LQI_FLAG_H
#define LQI_FLAG_H

int lqi_flag_open(int *fd_out); /* LQ_ELIMIT LQ_ENOMEM */
void lqi_flag_raise(int fd);
void lqi_flag_lower(int fd);
void lqi_flag_close(int fd); /* -1 is fine */

#endif
