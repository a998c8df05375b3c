export const late = "here all the same";
